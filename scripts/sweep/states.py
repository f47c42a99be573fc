"""The states of a sweep's jobs, and the locks by which several sweeps share the work."""

import fcntl
import os
from pathlib import Path

from helper.errors import UserError, reason_of
from helper.run.last_two import LATEST
from helper.run.same import Runs, State, epochs_of, is_done
from scripts.sweep.jobs import EXPERIMENTS, TRAINER, Job, key_of


class JobRuns(Runs):
    """The run folders in Experiments/, whoever started them."""

    def __init__(self) -> None:
        super().__init__(EXPERIMENTS, TRAINER, key_of)

    def student(self, job: Job) -> Path | None:
        """The checkpoint of a finished training: the most epochs, then the lowest trial."""
        found = [
            (epochs_of(run), -trial, run / "weights" / LATEST)
            for trial, key in enumerate(job.students, 1)
            for run in self.of(key)
            if is_done(run) and (run / "weights" / LATEST).is_file()
        ]
        return max(found)[2] if found else None

    def state_of(self, job: Job) -> State:
        """The job's state, its lock apart; "waiting" if it needs a student not there yet."""
        state = self.look(job.key, job.epochs)
        is_open = state.name in ("to do", "interrupted")
        if is_open and job.students and self.student(job) is None:
            need = f"needs a finished training of {job.pair} with {job.scheme}"
            return State("waiting", note=need)
        return state


def make_folder() -> None:
    """For locks and output. UserError if the disk refuses."""
    try:
        (EXPERIMENTS / ".sweep").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {EXPERIMENTS}/.sweep: {reason_of(error)}") from None


def take_lock(job: Job) -> int | None:
    """A descriptor that holds the job until it and its copies in child processes are closed.

    None if it is held.
    """
    lock = os.open(job.file(".lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def is_locked(job: Job) -> bool:
    """The same question without making a file."""
    if not job.file(".lock").exists():
        return False
    lock = take_lock(job)
    if lock is not None:
        os.close(lock)
    return lock is None
