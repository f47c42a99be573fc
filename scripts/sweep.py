#!/usr/bin/env python3
"""The paper's experiments: pairs of networks x DA schemes x trials, trainings and T. stddev passes.

    python scripts/sweep.py --dataset cifar100 --kind both --jobs 4 --gpus 0,1     # run what is not finished
    python scripts/sweep.py --dataset cifar100 --kind train --print                # its commands, one a line
    python scripts/sweep.py --dataset cifar100 --kind both --status                # done, running, failed, to do

Trial t has --trial t --seed t: the schemes of one trial see the same batches and begin with the same weights. Words
after -- go to every command (-- --limit_train 5000 --epochs 8) and make another job of it.

A job's run is recognised by all its options in Experiments/*/log/args.json, whoever started it. A finished run is
skipped, an interrupted one goes on in its folder. A pass that picks by student_entropy takes the student that was trained with the same words (--epochs apart: the one with the
most); it waits for a training in the same sweep, and is left out where there is none. While a job runs it holds a lock
in Experiments/.sweep/, where its output is too: several sweeps may share the work.

Exit status: 0 all is finished or run by another sweep, 1 a job failed or lacks its student, 2 bad input, 130 Ctrl-C.
"""

import contextlib
import datetime
import fcntl
import glob
import json
import os
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import zlib
from argparse import ArgumentTypeError, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dataset import datasets
from helper.errors import UserError, one_line_errors, unknown_name
from helper.last_two import newest_in
from helper.option_parser import OptionParser, number, one_of
from helper.options import needs_student, parse_student
from helper.resume import MAY_CHANGE
from helper.run_files import Lock
from models import model_dict
import results

PROGRAM, TRAINER = "sweep.py", "train_student.py"
SCHEMES = [scheme for scheme in results.SCHEMES if scheme != "none"]
"""The nine of the paper's tables."""
ROOT = Path(__file__).resolve().parent.parent
PAIRS = (
    "wrn_40_2/wrn_16_2", "wrn_40_2/vgg8", "resnet56/resnet20", "resnet56/ShuffleV2", "vgg13/vgg8",
    "vgg13/MobileNetV2", "resnet32x4/resnet8x4", "resnet32x4/ShuffleV2", "ResNet50/vgg8",
)  # fmt: skip
TRIALS = {"train": 3, "stddev": 1}
DISTIL = (
    "--distill kd --model_s {student} -r 0.1 -a 0.9 -b 0 --t_output_as_target_for_input_mix --lw_mix [1,0,1]"
)
MEASURE = "--learning_rate 0 --fix_student --utils.ON --utils.check_ce_var --epochs 10"
PICK = "cutmix_pick_"
FREE = MAY_CHANGE - set("lr_decay_epochs seed path_t finetune_student model_s_pretrained".split()) | {
    "model_t"
}
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
    options = {name: options.get(name, default) for name, default in DEFAULTS.items() if name not in FREE}
    if options["fix_student"]:
        del options["finetune_student"]  # any trial's student will do
    options["path_t"] = os.path.relpath(options["path_t"])
    return json.dumps(options, sort_keys=True, default=str)


DEFAULTS = json.loads(json.dumps(vars(parse_student([]))))


def make_jobs(options: Namespace, extra: Sequence[str]) -> list[Job]:
    """Trainings first; trial by trial, so that the first results are a whole table. UserError on bad words."""
    kinds = ("train", "stddev") if options.kind == "both" else (options.kind,)
    teachers = {
        name: teacher_file(options, name) for name in dict.fromkeys(p.split("/")[0] for p in options.pairs)
    }
    return [
        make_job(kind, pair, scheme, trial, teachers[pair.split("/")[0]], options, extra)
        for kind in kinds
        for trial in range(1, (options.trials or TRIALS[kind]) + 1)
        for pair in options.pairs
        for scheme in options.schemes
    ]


def make_job(
    kind: str, pair: str, scheme: str, trial: int, path_t: str, options: Namespace, extra: Sequence[str]
) -> Job:
    """The command as the paper has it, checked. UserError where `extra` changes what the sweep decides."""
    teacher, student = pair.split("/")
    mode = f"cutmix_pick --mix_n_run 2 --cutmix_pick_criterion {scheme.removeprefix(PICK)}"
    train = ["--path_t", path_t, *DISTIL.format(student=student).split(), "--mix_mode"]
    train += mode.split() if scheme.startswith(PICK) else [scheme]
    train += ["--dataset", options.dataset, "--trial", str(trial), "--seed", str(trial)]
    words = train + (MEASURE.split() if kind == "stddev" else [])
    parsed = parse_student([*words, *(["--finetune_student", LATER] if kind == "stddev" else []), *extra])
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
        of_training = vars(parse_student([*train, *(w for w in extra if not w.startswith("--utils"))]))
        trials = range(1, max(TRIALS["train"], options.trials or 0) + 1)
        keys = tuple(identity(of_training | {"trial": str(t), "seed": t}) for t in trials)
    words += ["--project", f"{parsed.distill}__{teacher}{student}__{options.dataset}__{scheme}", *extra]
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
                return State("waiting", note=f"needs a finished training of {job.pair} with {job.scheme}")
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
    return done and is_saved(run) and any("] done, see " in line for line in tail(run / "log" / "log.txt"))


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


# --- Doing it --------------------------------------------------------------------------------------------------------


@dataclass
class Child:
    """A job under way."""

    job: Job
    process: subprocess.Popen
    lock: int
    start: float


class Sweep:
    """The jobs, those under way, and the clock."""

    def __init__(self, jobs: Sequence[Job], options: Namespace) -> None:
        self.pending = {str(job.file("")): job for job in jobs}
        self.count = len(self.pending)
        self.python = options.python or sys.executable
        self.gpus = options.gpus
        self.slots: list[Child | None] = [None] * (options.jobs or len(options.gpus) or 1)
        self.runs = Runs()
        self.states: dict[str, State] = {}
        """Why a pending job was not started."""
        self.seconds: dict[str, list[float]] = {"train": [], "stddev": []}
        self.failed: list[tuple[Job, str, str]] = []
        self.skipped, self.finished, self.signal = 0, 0, 0
        self.start = time.monotonic()

    def run(self) -> int:
        """Returns the exit status."""
        for ending in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ending, self.on_signal)
        try:
            while not self.signal:
                self.collect()
                held = self.fill()
                if not (held or any(self.slots)):
                    break
                time.sleep(0.2 if any(self.slots) else 1)
        finally:  # a full disk, say, must not leave children behind
            if any(self.slots):
                self.signal = self.signal or signal.SIGTERM
                self.stop()
        return self.report()

    def on_signal(self, number: int, _: object) -> None:
        self.signal = number

    def fill(self) -> int:
        """Start jobs in the free slots. Returns how many wait for a training that is to come, here or in another sweep."""
        held = 0
        for name, job in list(self.pending.items()):
            if None not in self.slots or self.signal:
                break
            if self.is_held(job):
                held += 1
                continue
            self.states[name] = state = self.try_start(job)
            if state.name in ("done", "to do", "interrupted"):
                del self.pending[name]
            self.skipped += state.name == "done"
        return held

    def is_held(self, job: Job) -> bool:
        """Whether a training that this job needs is still to come."""
        others = [*self.pending.values(), *(child.job for child in self.slots if child)]
        return bool(job.students) and any(
            (other.kind, other.pair, other.scheme) == ("train", job.pair, job.scheme) for other in others
        )

    def try_start(self, job: Job) -> State:
        """Start the job, if nobody else has it and it is not finished; looked at under its lock."""
        lock = take_lock(job)
        if lock is None:
            return State("running", note="by another sweep")
        state = self.runs.look(job)
        if state.name not in ("to do", "interrupted"):
            os.close(lock)
            return state
        slot = self.slots.index(None)
        environment = dict(os.environ)
        if len(self.slots) > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(self.slots))))
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        command = [self.python, str(ROOT / TRAINER), *job.words, *state.words]
        with open(job.file(".log"), "a", encoding="utf-8") as log:
            log.write(f"sweep: {shlex.join(command)}\n")
            log.flush()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, pass_fds=[lock]
            )
        self.slots[slot] = Child(job, process, lock, time.monotonic())
        how = "resume" if state.name == "interrupted" else "start"
        gpu = f" on GPU {environment['CUDA_VISIBLE_DEVICES']}" if self.gpus else ""
        self.say(f"{how:8} {job}{gpu}{f' ({state.note})' if state.note else ''}")
        return state

    def collect(self) -> None:
        """Take note of the jobs that ended."""
        for slot, child in enumerate(self.slots):
            if child is None or child.process.poll() is None:
                continue
            self.slots[slot] = None
            code, job, took = child.process.returncode, child.job, time.monotonic() - child.start
            if code == 0 and self.runs.look(job).name == "done":
                self.finished += 1
                self.seconds[job.kind].append(took)
                self.say(f"finished {job} in {clock(took)}; {self.progress()}")
            elif self.signal:
                self.say(f"stopped  {job} after {clock(took)}")
            else:
                how = f"signal {-code}" if code < 0 else f"status {code}"
                last = last_line(job)
                self.failed.append((job, how, last))
                with open(job.file(".log"), "a", encoding="utf-8") as log:
                    log.write(f"{FAILED}\n")
                self.say(f"failed   {job} after {clock(took)}: {last}; {self.progress()}")
            os.close(child.lock)

    def stop(self) -> None:
        """End the children: they finish their step and save. The same signal may have reached them already, from the
        terminal or from Slurm, and a second one would end them at once: they get time to obey the first."""
        self.wait(10 if self.signal == signal.SIGINT else 1)
        for ending, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
            for child in filter(None, self.slots):
                child.process.send_signal(ending)
            self.wait(seconds)

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.collect()
        while any(self.slots) and time.monotonic() < end:
            time.sleep(0.1)
            self.collect()

    def progress(self) -> str:
        """How many jobs are done, and an estimate from those that ended in this sweep."""
        done = f"{self.skipped + self.finished} of {self.count} done"
        elsewhere = [name for name in self.pending if name in self.states]
        left = [job.kind for name, job in self.pending.items() if name not in elsewhere]
        left += [child.job.kind for child in self.slots if child]
        known = [s for seconds in self.seconds.values() for s in seconds]
        if not left or not known:
            return done
        means = {kind: statistics.mean(seconds or known) for kind, seconds in self.seconds.items()}
        return f"{done}, about {clock(sum(means[kind] for kind in left) / len(self.slots))} left"

    def report(self) -> int:
        """The end's table, and the exit status."""
        left = Counter(self.states[name].name for name in self.pending if name in self.states)
        parts = {"finished": self.finished, "finished before": self.skipped, "failed": len(self.failed)}
        parts |= {"run by others": left["running"], "waiting for a student": left["waiting"]}
        self.say(", ".join(f"{n} {what}" for what, n in parts.items() if n) or "nothing was done")
        for name, job in self.pending.items():
            if name in self.states:
                print(f"{self.states[name].name}: {job}: {self.states[name].note}", file=sys.stderr)
        for job, how, last in self.failed:
            print(f"failed: {job}: {how}: {last} ({job.file('.log')})", file=sys.stderr)
        if self.signal:
            print("interrupted: the same command goes on from here", file=sys.stderr)
            return 128 + self.signal
        return 1 if self.failed or left["waiting"] else 0

    def say(self, text: str) -> None:
        print(f"[{clock(time.monotonic() - self.start)}] {text}", flush=True)


FAILED = "sweep: failed"
"""How the log of a failed job ends."""


def clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))


def last_line(job: Job) -> str:
    """The last thing that a job said."""
    lines = [line for line in tail(job.file(".log")) if not line.startswith("sweep: ")]
    return lines[-1][:300] if lines else "no output"


def look_at_all(jobs: Sequence[Job]) -> Iterator[tuple[Job, State]]:
    """How far each job is, without touching anything."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # | head
    runs = Runs()
    for job in jobs:
        yield job, State("running", note="by a sweep") if is_locked(job) else runs.look(job)


def print_commands(jobs: Sequence[Job], python: str) -> None:
    """What is still to be started, for a shell. What cannot be, as a comment on stderr."""
    trainer = TRAINER if Path.cwd() == ROOT else str(ROOT / TRAINER)
    for job, state in look_at_all(jobs):
        if state.name in ("to do", "interrupted"):
            print(shlex.join([python, trainer, *job.words, *state.words]))
        elif state.name != "done":
            print(f"# {job}: {state.name}, {state.note}", file=sys.stderr)


def print_status(jobs: Sequence[Job]) -> None:
    """A line for each job, then the numbers."""
    counts = Counter()
    for job, state in look_at_all(jobs):
        name, note = state.name, state.note or str(state.run or "")
        if name in ("to do", "interrupted") and tail(job.file(".log"))[-1:] == [FAILED]:
            name, note = "failed", last_line(job)
        counts[name] += 1
        print(f"{name:12} {job}{f': {note}' if note else ''}")
    print(", ".join(f"{count} {name}" for name, count in counts.items()))


# --- The command line ------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> Namespace:
    """UserError, or exit with status 2, on bad input."""
    description, _, details = __doc__.partition("\n")
    parser = OptionParser(prog=PROGRAM, description=description, epilog=details)
    # fmt: off
    what = parser.section("what")
    what("--dataset", default="cifar100", type=one_of("data set", datasets), metavar="NAME", help="(default: cifar100)")
    what("--kind", default="train", type=one_of("kind", [*TRIALS, "both"]), metavar="KIND",
         help="train, stddev or both (default: train)")
    what("--pairs", type=names, default="all", metavar="T/S,T/S", help=f"teacher/student (default: all, {' '.join(PAIRS)})")
    what("--schemes", type=names, default="all", metavar="A,B", help=f"(default: all, {' '.join(SCHEMES)})")
    what("--trials", type=number(int, 1), metavar="N", help="(default: 3 trainings, 1 T. stddev pass)")
    what("--teachers", metavar="DIR", help="folder of MODEL_vanilla/ (default: save/models; for tinyimagenet "
         "save/models_tinyimagenet, or the folder whose name begins so)")
    what("--teacher_file", default="ckpt_epoch_240.pth", metavar="NAME",
         help="its name there, or a pattern, 'ckpt_epoch_*.pth': the newest (default: %(default)s)")
    how = parser.section("how")
    how("--print", action="store_true", help="only print the commands that remain, one a line, for xargs or a cluster")
    how("--status", "--dry_run", action="store_true", help="only list how far each job is")
    how("--jobs", type=number(int, 1), metavar="K", help="so many at a time (default: one for each of --gpus, or 1)")
    how("--gpus", type=names, default=[], metavar="0,1", help="which they share, in turn (default: what a job finds)")
    how("--python", metavar="FILE", help="interpreter of the jobs (default: this one; python in --print)")
    # fmt: on
    options = parser.parse(argv)
    if options.print and options.status:
        raise UserError("--print and --status are two things: give one")
    options.pairs = PAIRS if options.pairs == ["all"] else options.pairs
    options.schemes = SCHEMES if options.schemes == ["all"] else options.schemes
    for pair in options.pairs:
        if pair.count("/") != 1:
            raise UserError(f"--pairs: {pair!r} is not teacher/student, such as {PAIRS[4]}")
        for model in pair.split("/"):
            if model not in model_dict:
                raise unknown_name("model", model, model_dict)
    for scheme in options.schemes:
        if scheme not in SCHEMES:
            raise unknown_name("scheme", scheme, SCHEMES)
    if options.python and not shutil.which(options.python):
        raise UserError(f"--python: {options.python} is not a program")
    options.teachers = (options.teachers or default_teachers(options.dataset)).rstrip("/")
    return options


def names(text: str) -> list[str]:
    """An argparse type: "a,b" -> ["a", "b"], each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ArgumentTypeError(f"{text!r}: expected names joined by commas")
    return list(dict.fromkeys(parts))


def default_teachers(dataset: str) -> str:
    """The public teachers of Tiny ImageNet have a folder of their own, or they would mix with CIFAR-100's."""
    if dataset != "tinyimagenet":
        return "./save/models"
    return next(iter(sorted(glob.glob("./save/models_tinyimagenet*"))), "./save/models_tinyimagenet")


def main(argv: Sequence[str]) -> int:
    split = argv.index("--") if "--" in argv else len(argv)
    options = parse(argv[:split])
    jobs = make_jobs(options, argv[split + 1 :])
    if options.print:
        print_commands(jobs, options.python or "python")
        return 0
    if options.status:
        print_status(jobs)
        return 0
    make_folder()
    return Sweep(jobs, options).run()


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        sys.exit(main(sys.argv[1:]))
