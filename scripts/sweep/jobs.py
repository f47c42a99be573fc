"""The jobs of a sweep (pairs of networks x schemes x trials) and their commands."""

import glob
import os
import zlib
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helper.cli.options import parse_student
from helper.errors import UserError
from helper.run.same import SAME, identity
from scripts.results.groups import SCHEMES as SCHEMES_AND_NONE

TRAINER = "train_student.py"
EXPERIMENTS = Path("Experiments")
SCHEMES = [scheme for scheme in SCHEMES_AND_NONE if scheme != "none"]
"""The nine of the paper's tables."""
PAIRS = (
    "wrn_40_2/wrn_16_2", "wrn_40_2/vgg8", "resnet56/resnet20", "resnet56/ShuffleV2", "vgg13/vgg8",
    "vgg13/MobileNetV2", "resnet32x4/resnet8x4", "resnet32x4/ShuffleV2", "ResNet50/vgg8",
)  # fmt: skip
TRIALS = {"train": 3, "stddev": 1}
DISTIL = (
    "--distill kd --model_s {student} -r 0.1 -a 0.9 -b 0 --t_output_as_target_for_input_mix"
    " --lw_mix [1,0,1]"
)
MEASURE = "--learning_rate 0 --fix_student --utils.ON --utils.check_ce_var --epochs 10"
PICK = "cutmix_pick_"
LATER = "<of a finished training>"
"""Stands for the student's file until the pass starts."""
DEFAULTS = vars(parse_student([]))


@dataclass(frozen=True)
class Job:
    """One command."""

    kind: str
    """"train" or "stddev"."""
    pair: str
    scheme: str
    trial: str
    words: tuple[str, ...] = field(repr=False)
    epochs: int
    key: str = field(repr=False)
    """Equal for two runs of the same job, see `key_of`."""
    students: tuple[str, ...] = field(repr=False, default=())
    """Keys of the trainings, by trial, one of which a T. stddev pass needs; empty if it needs
    none."""

    def __str__(self) -> str:
        return f"{self.kind} {self.pair} {self.scheme} trial {self.trial}"

    def file(self, suffix: str) -> Path:
        """The job's lock or log in Experiments/.sweep/."""
        checksum = zlib.crc32(f"{self.key} {self.epochs}".encode())
        name = f"{self}".replace("/", "_").replace(" ", "__")
        return EXPERIMENTS / ".sweep" / f"{name}__{checksum:08x}{suffix}"

    def command(self, python: str, trainer: str, student: Path | None = None) -> list[str]:
        """The whole command, which may be repeated at any time.

        student: the checkpoint that a pass needs.
        """
        chosen = [] if student is None else ["--finetune_student", str(student)]
        return [python, trainer, *self.words, *chosen, "--resume_ExpID", SAME]


def key_of(options: Mapping[str, Any]) -> str:
    """The job's identity: its options as text, see helper/run/same.py.

    Any trial's student will do for a pass.
    """
    student = {"finetune_student": ""} if options.get("fix_student") else {}
    return identity({**options, **student}, DEFAULTS)


def make_jobs(options: Namespace, extra: Sequence[str]) -> list[Job]:
    """Trainings first; trial by trial, so that the first results are a whole table.

    UserError on bad words.
    """
    kinds = ("train", "stddev") if options.kind == "both" else (options.kind,)
    return [
        make_job(options, extra, kind=kind, pair=pair, scheme=scheme, trial=str(trial))
        for kind in kinds
        for trial in range(1, (options.trials or TRIALS[kind]) + 1)
        for pair in options.pairs
        for scheme in options.schemes
    ]


def make_job(
    options: Namespace, extra: Sequence[str], *, kind: str, pair: str, scheme: str, trial: str
) -> Job:
    """The command as the paper has it, checked.

    UserError where `extra` changes what the sweep decides.
    """
    teacher, student = pair.split("/")
    path_t = teacher_file(options, teacher)
    picks = scheme.startswith(PICK)
    mode = (
        f"{PICK[:-1]} --mix_n_run 2 --cutmix_pick_criterion {scheme.removeprefix(PICK)}"
        if picks
        else scheme
    )
    train = ["--path_t", path_t, *DISTIL.format(student=student).split()]
    train += ["--mix_mode", *mode.split()]
    train += ["--dataset", options.dataset, "--trial", trial, "--seed", trial]
    words = train + (MEASURE.split() if kind == "stddev" else [])
    later = ["--finetune_student", LATER] if kind == "stddev" else []
    parsed = parse_student([*words, *later, *extra])
    decided = {
        "path_t": path_t, "model_s": student, "dataset": options.dataset, "trial": trial,
        "seed": int(trial), "mix_mode": mode.split()[0], "fix_student": kind == "stddev",
        "debug": False, "dry_run": False, "resume_student": "", "resume_ExpID": "",
    }  # fmt: skip
    for name, value in decided.items():
        if getattr(parsed, name) != value:
            raise UserError(f"after --: --{name} is what the sweep decides, it cannot be given")
    students: tuple[str, ...] = ()
    if kind == "stddev" and parsed.facts.needs_student and parsed.finetune_student == LATER:
        students = trainings(options, train, extra)
    project = f"{parsed.distill}__{teacher}{student}__{options.dataset}__{scheme}"
    words += ["--project", project, *extra]
    return Job(
        kind, pair, scheme, trial, tuple(words), parsed.epochs, key_of(vars(parsed)), students
    )


def trainings(options: Namespace, train: Sequence[str], extra: Sequence[str]) -> tuple[str, ...]:
    """The keys of a command's trainings, one a trial: a T. stddev pass waits for one of them."""
    words = [*train, *(word for word in extra if not word.startswith("--utils"))]
    training = vars(parse_student(words))
    trials = range(1, max(TRIALS["train"], options.trials or 0) + 1)
    return tuple(key_of(training | {"trial": str(t), "seed": t}) for t in trials)


def teacher_file(options: Namespace, name: str) -> str:
    """The teacher's checkpoint; of a pattern, the newest file. UserError if there is none."""
    folder = f"{options.teachers}/{name}_vanilla"
    if not glob.has_magic(options.teacher_file):
        path = f"{folder}/{options.teacher_file}"
        if os.path.isfile(path) or options.print or options.status:
            return path
        raise UserError(
            f"there is no teacher {path} (--teachers DIR --teacher_file NAME; the public ones: "
            "scripts/set_up_pretrained_models.sh)"
        )
    found = sorted(glob.glob(f"{glob.escape(folder)}/{options.teacher_file}"), key=os.path.getmtime)
    if not found:
        raise UserError(f"no file in {folder} is called {options.teacher_file}")
    return found[-1]
