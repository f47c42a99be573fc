"""`--plugin`: your own names are found everywhere, a resumed run wants the same file, and a bad
file is one line."""

import json
import re
from pathlib import Path

import pytest
from places import ROOT
from command_line import log_lines, new_run, run

from helper.cli.listing import listing
from helper.cli.options import parse_student
from helper.cli.plugins import KINDS, PREFIX, VARIABLE, load_plugins
from helper.errors import UserError


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """The registries forget after a test what it registered."""
    for registry, _ in KINDS.values():
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    yield
    modules = __import__("sys").modules
    for name in [name for name in modules if name.startswith(PREFIX)]:
        del modules[name]


def examples():
    """The Python files that the rooms' pages show, by name."""
    rooms = ("augment", "distiller_zoo", "models", "dataset")
    text = "".join((ROOT / room / "README.md").read_text() for room in rooms)
    pattern = r"(my_\w+\.py)(?:(?!my_\w+\.py|```).)*```python\n(.*?)```"
    return dict(re.findall(pattern, text, re.DOTALL))


def write(path, content):
    path.write_text(content)
    return path


SMALL = (
    "--epochs 1 --batch_size 4 --limit_train 8 --limit_test 8 --device cpu --num_workers 0 "
    "--seed 1 "
    "--num_classes 5 --img_size 16 --num_workers 0"
)


def test_an_example_of_each_kind_from_the_readme(tmp_path, monkeypatch, capsys):
    """Each through --help and --list, training of a teacher and a student, and T. stddev."""
    monkeypatch.chdir(tmp_path)
    files = examples()
    assert len(files) == len(KINDS)
    for name, content in files.items():
        write(tmp_path / name, content)
    plugins = " ".join(f"--plugin {name}" for name in files)
    names = {kind: set(registry) for kind, (registry, _) in KINDS.items()}
    load_plugins(plugins.split())
    new = {kind: set(registry) - names[kind] for kind, (registry, _) in KINDS.items()}
    assert all(len(added) == 1 for added in new.values()), new
    stage, criterion, distiller, model, data = (next(iter(new[kind])) for kind in KINDS)
    listed = listing()
    assert all(name in listed for name in (stage, criterion, distiller, model, data))
    with pytest.raises(SystemExit):
        run("train_student.py", f"{plugins} --help all")
    assert {stage, criterion, distiller, data} <= set(re.findall(r"\w+", capsys.readouterr().out))

    data_words = f"{plugins} {SMALL} --dataset {data}".replace("--num_classes 5 --img_size 16", "")
    run("train_teacher.py", f"{data_words} --model {model}")
    words = (
        f"{data_words} --path_t save/models/{model}_vanilla/ckpt_epoch_1.pth --model_s {model} "
        f"--distill {distiller} --lw_mix [1,0,1] --mix_mode"
    )
    trained = new_run("train_student.py", f"{words} {stage}")
    picked = f"cutmix_pick --mix_n_run 2 --cutmix_pick_criterion {criterion}"
    weights = trained / "weights" / "ckpt.pth"
    measured = f"--fix_student --learning_rate 0 --utils.check_ce_var --finetune_student {weights}"
    new_run("train_student.py", f"{words} {picked} {measured}")
    recorded = json.loads((trained / "log" / "args.json").read_text())
    assert [Path(path).name for path in recorded["plugin"]] == list(files)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in recorded["plugin_sha256"])
    assert recorded["plugin_sha256"][0] in (trained / "log" / "log.txt").read_text()


LOSS = """
from distiller_zoo import LogitDistiller, distillers

@distillers.register("{name}")
class Mine(LogitDistiller):
    def forward(self, student_logits, teacher_logits, target):
        return {factor} * (student_logits - teacher_logits).square().mean()
"""


def test_a_resumed_run_wants_the_same_file_and_the_environment_names_files_too(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    plugin = write(tmp_path / "a.py", LOSS.format(name="mine", factor=1))
    monkeypatch.setenv(VARIABLE, str(plugin))
    run("train_teacher.py", f"{SMALL} --dataset synthetic --model resnet8")
    teacher = "--path_t save/models/resnet8_vanilla/ckpt_epoch_1.pth"
    words = f"{SMALL} --dataset synthetic {teacher} --model_s resnet8 --distill mine"
    trained = new_run("train_student.py", words)
    plugin.rename(tmp_path / "b.py")  # another place, the same file
    monkeypatch.setenv(VARIABLE, "b.py")
    resume = f"--resume_student {trained}/weights/ckpt.pth"
    run("train_student.py", words.replace("--epochs 1", "--epochs 2"), resume)
    assert any("Epoch 2" in line for line in log_lines(trained))
    write(tmp_path / "c.py", LOSS.format(name="mine2", factor=2))
    monkeypatch.setenv(VARIABLE, "b.py:c.py")
    with pytest.raises(SystemExit) as caught:
        run("train_student.py", words.replace("--epochs 1", "--epochs 3"), resume)
    message = capsys.readouterr().err
    assert (
        caught.value.code == 2
        and "had plugins of SHA-256 ['" in message
        and message.count("\n") == 1
    )


STAGE = "from augment import Augmentation, mix_modes\n"
REGISTER = "from {room} import {registry}\n{registry}.register({name!r}, {entry})\n"


def entry(registry, value, name="mine"):
    rooms = {"mix_modes": "augment", "pick_criteria": "augment", "distillers": "distiller_zoo"}
    rooms |= {"model_dict": "models", "datasets": "dataset"}
    return REGISTER.format(room=rooms[registry], registry=registry, name=name, entry=value)


BAD = {
    "empty": ("", "registers nothing"),
    "does nothing": ("x = 1", "registers nothing"),
    "syntax": ("x = 1\ndef f(:\n", "line 2: "),
    "indent": ("def f():\nx = 1\n", "line 2: expected an indented block"),
    "name": ("x = 1\ny = z\n", "line 2: NameError: name 'z' is not defined"),
    "import": ("import no_such_package\n", "line 1: ModuleNotFoundError"),
    "from": ("from augment import no_such_name\n", "line 1: ImportError"),
    "exit": ("import sys\nsys.exit(0)\n", "line 2: SystemExit: 0"),
    "divides": ("def f():\n    return 1 / 0\n\nf()\n", "line 2: ZeroDivisionError"),
    "two lines": ("raise ValueError('one\\ntwo')", "ValueError: one$"),
    "no words": ("raise KeyError", "line 1: KeyError"),
    "no bytes": (b"\xff\xfe\x00", "(codec|null bytes|cannot be read)"),
    "null": (b"x = 1\x00", "null"),
    "taken stage": (entry("mix_modes", "object", "cutmix"), "'cutmix' is registered twice"),
    "taken model": (entry("model_dict", "object", "vgg8"), "'vgg8' is registered twice"),
    "taken data": (entry("datasets", "object", "cifar100"), "'cifar100' is registered twice"),
    "blank": (
        entry("model_dict", "lambda num_classes, img_size: 0", "a b"),
        "cannot be the name of a model",
    ),
    "path": (entry("model_dict", "lambda num_classes, img_size: 0", "../a"), "cannot be the name"),
    "plus key": (entry("mix_modes", "object", "a:b"), "cannot be the name of a mix mode"),
    "flag": (entry("distillers", "object", "-x"), "cannot be the name of a distiller"),
    "stage": (
        entry("mix_modes", "object"),
        "mix mode 'mine' is no subclass of augment.Augmentation",
    ),
    "function": (
        entry("mix_modes", "lambda images: images"),
        "is no subclass of augment.Augmentation",
    ),
    "criterion": (entry("pick_criteria", "lambda logits, t: 0"), "is no augment.pick.Criterion"),
    "distiller": (
        entry("distillers", "dict"),
        "is no subclass of LogitDistiller or FeatureDistiller",
    ),
    "model": (entry("model_dict", "lambda: 0"), "cannot be called with num_classes= and img_size="),
    "model's words": (
        entry("model_dict", "lambda classes: 0"),
        "cannot be called with num_classes=",
    ),
    "data": (entry("datasets", "object()"), "has no spec and no load"),
    "half a data set": (
        "class D:\n    def spec(self, request): ...\n" + entry("datasets", "D()"),
        "data set 'mine' has no load",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line(tmp_path, name):
    content, expected = BAD[name]
    path = tmp_path / "p.py"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=expected) as caught:
        load_plugins(["--plugin", str(path)])
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"--plugin {path}")


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--plugin", "names no file"),
        ("--plugin=absent.py", "--plugin absent.py: No such file"),
        ("--plugin .", "--plugin .: Is a directory"),
        ("--plug absent.py", "--plugin cannot be shortened"),
    ],
)
def test_no_file_is_one_line(tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=expected):
        parse_student(words.split())
