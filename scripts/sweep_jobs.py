"""The jobs of a sweep: their commands, the runs in Experiments/ that are theirs, how far each is.

A job is a training or a T. stddev pass; who runs it holds its lock.
"""

import contextlib
import fcntl
import glob
import json
import os
import socket
import sys
import time
import zlib
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import results

from helper.cli.options import needs_student, parse_student
from helper.errors import UserError
from helper.run.files import Lock
from helper.run.last_two import newest_in
from helper.run.resume import MAY_CHANGE

TRAINER = "train_student.py"
SCHEMES = [scheme for scheme in results.SCHEMES if scheme != "none"]
"""The nine of the paper's tables."""
ROOT = Path(__file__).resolve().parent.parent
PAIRS = (
    "wrn_40_2/wrn_16_2", "wrn_40_2/vgg8", "resnet56/resnet20", "resnet56/ShuffleV2", "vgg13/vgg8",
    "vgg13/MobileNetV2", "resnet32x4/resnet8x4", "resnet32x4/ShuffleV2", "ResNet50/vgg8",
)  # fmt: skip
TRIALS = {"train": 3, "stddev": 1}
DISTIL = "--distill kd --model_s {student} -r 0.1 -a 0.9 -b 0 --t_output_as_target_for_input_mix --lw_mix [1,0,1]"
MEASURE = "--learning_rate 0 --fix_student --utils.ON --utils.check_ce_var --epochs 10"
PICK = "cutmix_pick_"
FREE = MAY_CHANGE - set(
    "lr_decay_epochs seed path_t finetune_student model_s_pretrained".split()
) | {"model_t"}
"""Options that do not define a job. (How many epochs are wanted is in a run's last job record.)"""
EXPERIMENTS = Path("Experiments")
LATER = "<of a finished training>"
"""Stands for the student's file until the pass starts."""


# --- What is to be done --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One command."""

    kind: str
    pair: str
    scheme: str
    trial: int
    words: tuple[str, ...] = field(repr=False)
    epochs: int
    key: str = field(repr=False)
    """Equal for two runs of the same job, see `identity`."""
    students: tuple[str, ...] = field(repr=False)
    """Keys of the trainings, by trial, one of which a T. stddev pass needs; empty if it needs none."""

    def __str__(self) -> str:
        return f"{self.kind} {self.pair} {self.scheme} trial {self.trial}"

    def file(self, suffix: str) -> Path:
        checksum = zlib.crc32(f"{self.key} {self.epochs}".encode())
        name = f"{self}".replace("/", "_").replace(" ", "__")
        return EXPERIMENTS / ".sweep" / f"{name}__{checksum:08x}{suffix}"


def identity(options: dict[str, Any]) -> str:
    """The options that define a job, as text. An option that the run did not know yet had its default."""
    options = {
        name: options.get(name, default) for name, default in DEFAULTS.items() if name not in FREE
    }
    if options["fix_student"]:
        del options["finetune_student"]  # any trial's student will do
    options["path_t"] = os.path.relpath(options["path_t"])
    return json.dumps(options, sort_keys=True, default=str)


DEFAULTS = json.loads(json.dumps(vars(parse_student([]))))


def make_jobs(options: Namespace, extra: Sequence[str]) -> list[Job]:
    """Trainings first; trial by trial, so that the first results are a whole table. UserError on bad words."""
    kinds = ("train", "stddev") if options.kind == "both" else (options.kind,)
    teachers = {
        name: teacher_file(options, name)
        for name in dict.fromkeys(p.split("/")[0] for p in options.pairs)
    }
    return [
        make_job(kind, pair, scheme, trial, teachers[pair.split("/")[0]], options, extra)
        for kind in kinds
        for trial in range(1, (options.trials or TRIALS[kind]) + 1)
        for pair in options.pairs
        for scheme in options.schemes
    ]


def make_job(
    kind: str,
    pair: str,
    scheme: str,
    trial: int,
    path_t: str,
    options: Namespace,
    extra: Sequence[str],
) -> Job:
    """The command as the paper has it, checked. UserError where `extra` changes what the sweep decides."""
    teacher, student = pair.split("/")
    mode = f"cutmix_pick --mix_n_run 2 --cutmix_pick_criterion {scheme.removeprefix(PICK)}"
    train = ["--path_t", path_t, *DISTIL.format(student=student).split(), "--mix_mode"]
    train += mode.split() if scheme.startswith(PICK) else [scheme]
    train += ["--dataset", options.dataset, "--trial", str(trial), "--seed", str(trial)]
    words = train + (MEASURE.split() if kind == "stddev" else [])
    parsed = parse_student(
        [*words, *(["--finetune_student", LATER] if kind == "stddev" else []), *extra]
    )
    mine = {
        "path_t": path_t, "model_s": student, "dataset": options.dataset, "trial": str(trial), "seed": trial,
        "mix_mode": scheme if not scheme.startswith(PICK) else "cutmix_pick", "fix_student": kind == "stddev",
        "debug": False, "dry_run": False, "resume_student": "", "resume_ExpID": "",
    }  # fmt: skip
    for name, value in mine.items():
        if getattr(parsed, name) != value:
            raise UserError(f"after --: --{name} is what the sweep decides, it cannot be given")
    keys = ()
    if kind == "stddev" and needs_student(parsed) and parsed.finetune_student == LATER:
        of_training = vars(
            parse_student([*train, *(w for w in extra if not w.startswith("--utils"))])
        )
        trials = range(1, max(TRIALS["train"], options.trials or 0) + 1)
        keys = tuple(identity(of_training | {"trial": str(t), "seed": t}) for t in trials)
    words += [
        "--project",
        f"{parsed.distill}__{teacher}{student}__{options.dataset}__{scheme}",
        *extra,
    ]
    return Job(kind, pair, scheme, trial, tuple(words), parsed.epochs, identity(vars(parsed)), keys)


def teacher_file(options: Namespace, name: str) -> str:
    """Of a pattern, the newest file. UserError if there is none, and something is to be run with it."""
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


# --- What has been done ----------------------------------------------------------------------------------------------


class State(NamedTuple):
    """`name`: done, running, waiting, interrupted or to do."""

    name: str
    run: Path | None = None
    words: tuple[str, ...] = ()
    """What the command needs beyond the job's words."""
    note: str = ""


class Runs:
    """The run folders in Experiments/, by job."""

    def __init__(self) -> None:
        self.keys: dict[Path, str | None] = {}

    def of(self, key: str) -> list[tuple[Path, dict[str, Any]]]:
        """Folder and records of each run of a job that began, the oldest first."""
        for head in EXPERIMENTS.glob("*/log/args.json"):
            if head not in self.keys:
                self.keys[head] = key_of(head)
        runs = [head.parent.parent for head, its_key in self.keys.items() if its_key == key]
        found = [(run, last_records(run / "log" / "metrics.jsonl")) for run in sorted(runs)]
        return [(run, records) for run, records in found if "job" in records]

    def student(self, job: Job) -> Path | None:
        """The checkpoint of a finished training: of those with the most epochs, the lowest trial's."""
        found = [
            (records["job"]["epochs"], -trial, run / "weights" / "ckpt.pth")
            for trial, key in enumerate(job.students, 1)
            for run, records in self.of(key)
            if is_finished(run, records, "train")
        ]
        return max(found)[2] if found else None

    def look(self, job: Job) -> State:
        """How far a job is, its lock apart."""
        runs = [run for run in self.of(job.key) if run[1]["job"]["epochs"] == job.epochs]
        for run, records in runs:
            if is_finished(run, records, job.kind):
                return State("done", run)
        for run, _ in runs:
            if is_alive(run):
                return State("running", run, note=f"in {run}, not by a sweep")
        words, note = (), ""
        if job.students:
            student = self.student(job)
            if student is None:
                return State(
                    "waiting", note=f"needs a finished training of {job.pair} with {job.scheme}"
                )
            words, note = ("--finetune_student", str(student)), f"student {student}"
        saved = [(r.get("epoch", {}).get("epoch", 0), run) for run, r in runs if is_saved(run)]
        if not saved:
            return State("to do", words=words, note=note)
        epoch, run = max(saved)
        note = f"epoch {epoch} of {job.epochs}, {run}" if job.kind == "train" else str(run)
        return State("interrupted", run, (*words, "--resume_ExpID", run.name), note)


def last_records(path: Path) -> dict[str, dict[str, Any]]:
    """The last record of each kind in metrics.jsonl; a line cut off by a kill is passed over."""
    records = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return records
    for line in lines:
        try:
            record = json.loads(line)
            records[record["kind"]] = record
        except (ValueError, KeyError, TypeError):
            continue
    return records


def key_of(head: Path) -> str | None:
    """The job of a run folder; None if it is none of ours."""
    try:
        options = json.loads(head.read_text(encoding="utf-8"))
        return identity(options) if options.get("program") == TRAINER else None
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def is_saved(run: Path) -> bool:
    return newest_in(run / "weights") is not None


def is_finished(run: Path, records: dict[str, Any], kind: str) -> bool:
    """A pass: it has its summary. A training: all epochs, and it lived to save the last one."""
    if kind == "stddev":
        return "summary" in records
    done = records.get("epoch", {}).get("epoch", 0) >= records["job"]["epochs"]
    return (
        done
        and is_saved(run)
        and any("] done, see " in line for line in tail(run / "log" / "log.txt"))
    )


SILENCE, FAREWELL = 900, 60
"""For so many seconds after its last log line a run on another host counts as alive; or after the line that it ends."""


def is_alive(run: Path) -> bool:
    """Whether a process is at work in a run: by its lock, and on another host by the log's age as well."""
    try:
        Lock(run, create=False).release()
    except UserError:
        return True
    log = run / "log" / "log.txt"
    try:
        ends = any(word in line for line in tail(log)[-1:] for word in ENDINGS)
        age = time.time() - log.stat().st_mtime
        return age < (FAREWELL if ends else SILENCE) and host_of(run) != socket.gethostname()
    except (OSError, IndexError):
        return False


ENDINGS = ("] interrupted in ", "] stopped: ")
"""What a run that does not finish logs last, before it saves its state."""


def host_of(run: Path) -> str:
    """Where it ran last: who held its lock ("process 1 on host"), or who began it."""
    with contextlib.suppress(OSError):
        holder = (run / "log" / "lock").read_text(errors="replace").split()
        if holder:
            return holder[-1]
    with open(run / "log" / "log.txt", encoding="utf-8", errors="replace") as file:
        return file.readline().split()[1]


def tail(path: Path, size: int = 8192) -> list[str]:
    """The last lines that are not empty."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


def make_folder() -> None:
    """For locks and output. UserError if the disk refuses."""
    try:
        (EXPERIMENTS / ".sweep").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {EXPERIMENTS}/.sweep: {error.strerror}") from None


def take_lock(job: Job) -> int | None:
    """A descriptor that holds the job until it and its copies in child processes are closed; None if it is held."""
    lock = os.open(job.file(".lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def is_locked(job: Job) -> bool:
    try:
        with open(job.file(".lock")) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
