#!/usr/bin/env python3
"""The paper's experiments: pairs of networks x DA schemes x trials, trainings and T. stddev passes.

    # run what is not finished
    python scripts/sweep.py --dataset cifar100 --kind both --jobs 4 --gpus 0,1
    # its commands, one a line
    python scripts/sweep.py --dataset cifar100 --kind train --print
    # done, running, failed, to do
    python scripts/sweep.py --dataset cifar100 --kind both --status

Trial t has --trial t --seed t: the schemes of one trial see the same batches and begin with the
same weights. Words after -- go to every command (-- --limit_train 5000 --epochs 8) and make another
job of it.

A job's run is recognised by all its options in Experiments/*/log/args.json, whoever started it. A
finished run is skipped, an interrupted one goes on in its folder. A pass that picks by
student_entropy takes the student that was trained with the same words (--epochs apart: the one with
the most); it waits for a training in the same sweep, and is left out where there is none. While a
job runs it holds a lock in Experiments/.sweep/, where its output is too: several sweeps may share
the work.

Exit status: 0 all is finished or run by another sweep, 1 a job failed or lacks its student, 2 bad
input, 130 Ctrl-C.
"""

import datetime
import glob
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from argparse import ArgumentTypeError, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep_jobs import (  # first: it finds our packages
    PAIRS,
    ROOT,
    SCHEMES,
    TRAINER,
    TRIALS,
    Job,
    Runs,
    State,
    is_locked,
    make_folder,
    make_jobs,
    tail,
    take_lock,
)  # fmt: skip

from dataset import datasets
from helper.cli.parser import OptionParser, number, one_of
from helper.errors import UserError, one_line_errors, unknown_name
from models import model_dict

PROGRAM = "sweep.py"


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
            (other.kind, other.pair, other.scheme) == ("train", job.pair, job.scheme)
            for other in others
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
            environment.setdefault(
                "OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(self.slots)))
            )
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        command = [self.python, str(ROOT / TRAINER), *job.words, *state.words]
        with open(job.file(".log"), "a", encoding="utf-8") as log:
            log.write(f"sweep: {shlex.join(command)}\n")
            log.flush()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=[lock],
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
        parts = {
            "finished": self.finished,
            "finished before": self.skipped,
            "failed": len(self.failed),
        }
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
    return next(
        iter(sorted(glob.glob("./save/models_tinyimagenet*"))), "./save/models_tinyimagenet"
    )


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
