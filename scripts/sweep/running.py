"""The loop that starts a sweep's jobs, several at a time, and reports how they end."""

import datetime
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helper.run.same import State, tail
from scripts.sweep.jobs import TRAINER, Job
from scripts.sweep.states import JobRuns, take_lock

ROOT = Path(__file__).resolve().parent.parent.parent
FAILED = "sweep: failed"
"""How the log of a failed job ends."""
OBEY_SECONDS: dict[int, int] = {signal.SIGINT: 10, signal.SIGTERM: 1}
"""A signal may have reached the jobs too, from the terminal or from Slurm. They get so long to obey
it, since a second one would end them at once."""


@dataclass
class Child:
    """A job under way."""

    job: Job
    process: subprocess.Popen
    lock: int
    start: float


class Sweep:
    """The jobs, those under way, and the clock.

    slots: how many jobs at a time. gpus: numbers that the slots share, in turn; empty: what a job
    finds.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        slots: int,
        *,
        gpus: Sequence[str] = (),
        python: str | None = None,
    ) -> None:
        self.pending = {str(job.file("")): job for job in jobs}
        self.count = len(self.pending)
        self.python, self.gpus = python or sys.executable, gpus
        self.slots: list[Child | None] = [None] * slots
        self.runs = JobRuns()
        self.states: dict[str, State] = {}
        """Why a pending job was not started."""
        self.seconds: dict[str, list[float]] = {"train": [], "stddev": []}
        self.failed: list[tuple[Job, str]] = []
        self.skipped, self.finished, self.signal = 0, 0, 0
        self.start = time.monotonic()

    @property
    def children(self) -> list[Child]:
        return [child for child in self.slots if child is not None]

    def run(self) -> int:
        """Run what is not finished. Returns the exit status."""
        for ending in OBEY_SECONDS:
            signal.signal(ending, self.on_signal)
        try:
            while not self.signal:
                self.collect()
                held = self.fill()
                if not (held or self.children):
                    break
                time.sleep(0.2 if self.children else 1)
        finally:  # a full disk, say, must not leave children behind
            if self.children:
                self.signal = self.signal or signal.SIGTERM
                self.stop()
        return self.report()

    def on_signal(self, number: int, _: object) -> None:
        self.signal = number

    def fill(self) -> int:
        """Start jobs in the free slots. Returns how many wait for a training."""
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
        """True if a training that this job needs is still to come."""
        others = [*self.pending.values(), *(child.job for child in self.children)]
        needed = ("train", job.pair, job.scheme)
        return bool(job.students) and any((o.kind, o.pair, o.scheme) == needed for o in others)

    def try_start(self, job: Job) -> State:
        """Start the job, if nobody else has it and it is not finished; looked at under its lock."""
        lock = take_lock(job)
        if lock is None:
            return State("running", note="by another sweep")
        state = self.runs.state_of(job)
        if state.name not in ("to do", "interrupted"):
            os.close(lock)
            return state
        student = self.runs.student(job)
        slot = self.slots.index(None)
        command = job.command(self.python, str(ROOT / TRAINER), student)
        with open(job.file(".log"), "a", encoding="utf-8") as log:
            log.write(f"sweep: {shlex.join(command)}\n")
            log.flush()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment(slot), pass_fds=[lock],
            )  # fmt: skip
        self.slots[slot] = Child(job, process, lock, time.monotonic())
        notes = [state.note, "" if student is None else f"student {student}"]
        shown = ", ".join(filter(None, notes))
        gpu = f" on GPU {self.gpus[slot % len(self.gpus)]}" if self.gpus else ""
        how = "resume" if state.name == "interrupted" else "start"
        self.say(f"{how:8} {job}{gpu}{f' ({shown})' if shown else ''}")
        return state

    def environment(self, slot: int) -> dict[str, str]:
        """The variables of a job: its GPU, and its share of processors unless the user sets one."""
        environment = dict(os.environ)
        if len(self.slots) > 1:
            share = max(1, (os.cpu_count() or 1) // len(self.slots))
            environment.setdefault("OMP_NUM_THREADS", str(share))
        if self.gpus:
            gpu = self.gpus[slot % len(self.gpus)]
            visible = [
                name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name
            ]
            if visible and gpu.isdecimal() and int(gpu) < len(visible):
                gpu = visible[int(gpu)]  # the n-th of those that this process may use
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        return environment

    def collect(self) -> None:
        """Take note of the jobs that ended."""
        for slot, child in enumerate(self.slots):
            if child is not None and child.process.poll() is not None:
                self.slots[slot] = None
                self.note_end(child)
                os.close(child.lock)

    def note_end(self, child: Child) -> None:
        code, job, took = child.process.returncode, child.job, time.monotonic() - child.start
        state = self.runs.state_of(job)
        if code == 0 and state.name == "done":
            self.finished += 1
            self.seconds[job.kind].append(took)
            self.say(f"finished {job} in {clock(took)}; {self.progress()}")
        elif self.signal:
            self.say(f"stopped  {job} after {clock(took)}")
        elif state.name == "running":  # somebody has begun it by hand in the same moment
            name = str(job.file(""))
            self.pending[name], self.states[name] = job, state
        else:
            how = f"signal {-code}" if code < 0 else f"status {code}"
            self.failed.append((job, f"{how}: {last_line(job)}"))
            with open(job.file(".log"), "a", encoding="utf-8") as log:
                log.write(f"{FAILED}\n")
            self.say(f"failed   {job} after {clock(took)}: {last_line(job)}; {self.progress()}")

    def stop(self) -> None:
        """End the children: they finish their step and save themselves."""
        self.wait(OBEY_SECONDS[self.signal])
        for ending, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
            for child in self.children:
                child.process.send_signal(ending)
            self.wait(seconds)

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.collect()
        while self.children and time.monotonic() < end:
            time.sleep(0.1)
            self.collect()

    def progress(self) -> str:
        """How many jobs are done, and an estimate from those that ended in this sweep."""
        done = f"{self.skipped + self.finished} of {self.count} done"
        left = [job.kind for name, job in self.pending.items() if name not in self.states]
        left += [child.job.kind for child in self.children]
        known = [s for seconds in self.seconds.values() for s in seconds]
        if not left or not known:
            return done
        means = {kind: statistics.mean(seconds or known) for kind, seconds in self.seconds.items()}
        return f"{done}, about {clock(sum(means[kind] for kind in left) / len(self.slots))} left"

    def report(self) -> int:
        """Print the end's table. Returns the exit status."""
        waiting = {name: self.states[name] for name in self.pending if name in self.states}
        left = Counter(state.name for state in waiting.values())
        parts = {
            "finished": self.finished,
            "finished before": self.skipped,
            "failed": len(self.failed),
            "run by others": left["running"],
            "waiting for a student": left["waiting"],
        }
        self.say(", ".join(f"{n} {what}" for what, n in parts.items() if n) or "nothing was done")
        for name, state in waiting.items():
            print(f"{state.name}: {self.pending[name]}: {state.note}", file=sys.stderr)
        for job, reason in self.failed:
            print(f"failed: {job}: {reason} ({job.file('.log')})", file=sys.stderr)
        if self.signal:
            print("interrupted: the same command goes on from here", file=sys.stderr)
            return 128 + self.signal
        return 1 if self.failed or left["waiting"] else 0

    def say(self, text: str) -> None:
        print(f"[{clock(time.monotonic() - self.start)}] {text}", flush=True)


def clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))


def last_line(job: Job) -> str:
    """The last line that a job itself has printed."""
    lines = [line for line in tail(job.file(".log")) if not line.startswith("sweep: ")]
    return lines[-1][:300] if lines else "no output"
