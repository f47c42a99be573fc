"""The commands of the pages in a small form, each in a process of its own that has imported
everything already."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

from fake_cifar import write_cifar
from fake_images import write_folder
from fake_runs import write_experiments
from forked import finish, start
from pages import module_of
from places import ROOT
from small_networks import new_model

import matplotlib.pyplot  # noqa: F401  (here and below: what each fork would import)
import torchvision.transforms.v2  # noqa: F401

import scripts.preview_augmentations
import scripts.rank_augmentations
import scripts.report  # noqa: F401

from helper.run.checkpoint import describe_model, save_checkpoint
from models.model_info import count_flops
from scripts.measured import plan

FEW = "--limit_train 16 --limit_test 8 --batch_size 8 --device cpu"
SMALL = {
    "train_teacher.py": f"{FEW} --epochs 1",
    "train_student.py": f"{FEW} --epochs 1 --init_epochs 1",
    "rank_augmentations.py": f"{FEW} --budget 16",
    "preview_augmentations.py": "--dataset synthetic --num_classes 5 --img_size 16 --num_images 2",
    "evaluate.py": "--limit_test 8 --device cpu",
    "sweep.py": "--pairs resnet14/resnet8 --schemes cutmix --trials 1",
    "coverage.py": "--seeds 1 --steps 8 --truth_steps 8",
    "measures.py": "--steps 2 --schemes cutmix",
}
"""Words that make a command short; the last of two equal flags counts."""
TEACHER = "save/models/resnet14_vanilla/ckpt_epoch_240.pth"
TEACHERS = ("resnet14", "wrn_16_2", "vgg13")


def make_place(folder):
    """A working directory with all that the pages' commands name: data, teachers, run folders."""
    count_flops(new_model("resnet8").to("meta"), 32)  # imports what else each fork would
    write_cifar(folder / "data", train=100, test=100)
    write_folder(folder / "pets")
    for name in TEACHERS:
        content = {"model": new_model(name, num_classes=100).state_dict()}
        content |= describe_model(name, 100, 32, "cifar100")
        save_checkpoint(folder / f"save/models/{name}_vanilla/ckpt_epoch_240.pth", content)
    write_experiments(folder / "Experiments", epochs=8, trials=1)
    resnet20 = folder / "save/models/resnet20_vanilla"  # trained by a page, for an epoch
    resnet20.mkdir()
    (resnet20 / "ckpt_epoch_240.pth").symlink_to("ckpt_epoch_1.pth")
    for name in ("train_student.py", "train_teacher.py", "scripts"):
        (folder / name).symlink_to(ROOT / name)


def small(script, words):
    """The words of a command, shortened. Words after -- are those of another command."""
    split = words.index("--") if "--" in words else len(words)
    words, others = words[:split], words[split + 1 :]
    words = [TEACHER if word == "FILE" else word for word in words]
    words = [*words, *SMALL.get(script.name, "").split()]
    if "--print" in words:
        words += ["--schemes", "flip"]  # the jobs of the sweeps before are done
    if "--validate" in words:
        words += ["--seeds", "1", "--validate_flags=--epochs 1"]
    if script.name in ("sweep.py", "distill_cifar100.sh"):
        others += SMALL["train_student.py"].split()
    return [*words, "--", *others] if others else words


def run(script, words, place):
    """A command of this project in `place`. Returns (exit status, output, errors)."""
    script = ROOT / script
    if script.suffix == ".sh":
        return run_shell(script, words, place)
    for state in place.glob("*.state"):
        state.unlink()  # of a ranking of other schemes
    output = place / f"{len(list(place.glob('*.out')))}_{script.stem}"
    return finish(
        lambda words: main_of(script)(words), small(script, words), place,
        output=output, prepare=lambda: stay_inside(place),
    )  # fmt: skip


def main_of(script):
    """The function `main` of a script, as its `__main__` calls it."""
    module = module_of(script)
    if script.stem in HOOKS:
        HOOKS[script.stem](module)

    def main(words):
        sys.argv = [str(script), *words]
        sys.exit(module.main(words) if module.main.__code__.co_argcount else module.main())

    return main


def run_shell(script, words, place):
    """A shell script, for real; the Python that it calls notes the calls, which then run small."""
    python = place / "environment" / "bin" / "python"
    if not python.exists():
        python.parent.mkdir(parents=True)
        python.write_text(RECORDER.format(python=sys.executable))
        python.chmod(0o755)
        shutil.copy(ROOT / "requirements.txt", place / "environment" / ".installed-requirements")
    calls = place / "calls.txt"
    calls.write_text("")
    environment = {"PYTHON": str(python), "VENV": str(python.parents[1]), "CALLS": str(calls)}
    environment |= {"DATA_ROOT": str(place / "data"), "TEACHER": "resnet14", "STUDENT": "resnet8"}
    shell = subprocess.run(
        ["sh", str(script), *words], env=os.environ | environment, capture_output=True, text=True
    )
    status, errors = shell.returncode, shell.stderr
    for call in map(str.split, calls.read_text().splitlines()):
        assert status == 0, errors
        status, _, errors = run(call[0], call[1:], place)
    return status, shell.stdout, errors


RECORDER = """#!/bin/sh
case $1 in
-c | *recipe.py) exec "{python}" "$@" ;;
*) echo "$@" >> "$CALLS" ;;
esac
"""


# --- In the process of a command ------------------------------------------------------------------


class Fork:
    """In place of a subprocess.Popen that runs a script of this project."""

    def __init__(self, command, cwd=None):
        self.args, self.returncode = command, None
        script, words = Path(command[1]), command[2:]
        place = Path(cwd or ".").absolute()
        output = place / f"child{os.getpid()}_{len(list(place.glob('child*.out')))}"
        self.child = start(lambda words: main_of(script)(words), words, place, output=output)

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.child.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def communicate(self, input=None, timeout=None):
        self.returncode = self.child.wait(60)
        return None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def stay_inside(place):
    """Programs of this project become forks, and where one becomes another, it calls its `main`."""
    popen = subprocess.Popen

    def open_process(command, cwd=None, **options):
        is_ours = command[0] == sys.executable and str(command[1]).endswith(".py")
        return Fork(command, cwd) if is_ours else popen(command, cwd=cwd, **options)

    def become(_, words):
        place = next(n for n, word in enumerate(words) if word.endswith(".py"))
        main_of(ROOT / words[place])(words[place + 1 :])

    subprocess.Popen, os.execvp = open_process, become


def shorten_quickstart(module):
    module.SCALES["synthetic"] = dataclasses.replace(
        module.SCALES["synthetic"], data=f"--dataset synthetic --num_classes 5 --img_size 16 {FEW}",
        teacher="resnet14", teacher_epochs=1, student_epochs=1, trials=1, rank_images=160,
    )  # fmt: skip
    module.SCHEMES[:] = ["identity", "cutmix"]
    module.ROOT = Path.cwd()


def shorten_measured(module):
    """Short runs, one of each setup; what is written lands in the working directory."""
    module.commit = lambda _: "none"
    for name in {"STUDENTS", "MEASURES", "BATCHNORM"} & set(vars(module)):
        setattr(module, name, Path(f"{name.lower()}.csv").absolute())
    setups = {name: shorten_setup(setup) for name, setup in module.SETUPS.items()}
    module.SETUPS = setups
    module.queue = lambda: [
        plan.Run(setup, plan.Scheme("cutmix", "paper"), seed=1) for setup in setups.values()
    ]


def shorten_setup(setup):
    data, teacher_data = (f"{words} {FEW}" for words in (setup.data, setup.teacher_data))
    return dataclasses.replace(
        setup, data=data, teacher_data=teacher_data if setup.teacher_data else data, epochs=1,
        teacher="resnet14", teacher_epochs=1,
    )  # fmt: skip


def shorten_results(module):
    """All tables; test_measured_results.py draws the figures."""
    module.HERE, module.draw_all = Path.cwd(), lambda *_: []


HOOKS = {
    "quickstart": shorten_quickstart,
    "students": shorten_measured,
    "measures": shorten_measured,
    "batchnorm": shorten_measured,
    "results": shorten_results,
}
