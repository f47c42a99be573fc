"""Ending a run on a signal without losing its work.

SIGINT (Ctrl-C), SIGTERM, SIGHUP (the terminal is gone) and SIGUSR1 (Slurm can send it some time
before the end) end a run. While it starts, they do so where it stands. In its loops they are only
noted: `check`, called between two steps, raises `Interrupted`, and the loop saves its state. A
second signal ends the process at once.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

STATUS: dict[int, int] = {
    signal.SIGINT: 130,
    signal.SIGTERM: 143,
    signal.SIGUSR1: 143,
    signal.SIGHUP: 129,
}
"""The exit status after each signal: 128 + its number; SIGUSR1 only goes ahead of a SIGTERM."""


ECHO_SECONDS = 5.0


class Interrupted(KeyboardInterrupt):
    """A signal ends the run."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = STATUS[number]


@dataclass
class Watch:
    """Answers the signals, or notes the first one."""

    received: int | None = None
    since: float = 0.0
    """When that was."""
    waits: bool = False
    """Whether a signal is to wait for the next `check`."""
    is_due: bool = False
    """Whether `check` has something to do: a signal has come, or there are other processes to
    ask. Until then a loop need not call it."""

    def __call__(self, number: int, _: object) -> None:
        if self.received is not None:
            # torchrun passes on what may have reached us already; that is not yet a second one.
            if agree is _alone or time.monotonic() - self.since > ECHO_SECONDS:
                os._exit(STATUS[number])
            return
        self.received, self.since, self.is_due = number, time.monotonic(), True
        if not self.waits:
            raise Interrupted(number)


def _alone(received: int) -> int:
    return received


agree: Callable[[int], int] = _alone
"""The signal that this process received (0: none) -> the signal that all processes of the run
answer now."""
watch = Watch()


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Signals are answered within. What a caller ignores (nohup: SIGHUP) stays ignored."""
    watch.received, watch.waits, watch.is_due = None, False, agree is not _alone
    before = {number: signal.getsignal(number) for number in STATUS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, watch)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def between_steps_only() -> Iterator[None]:
    """Within, a signal waits for the next `check`."""
    watch.waits = True
    try:
        yield
    finally:
        watch.waits = False


def agree_by(agreement: Callable[[int], int]) -> None:
    """From here on, `check` asks the other processes of the run."""
    global agree
    agree, watch.is_due = agreement, True


def check() -> None:
    """Raise Interrupted if a signal has come.

    To be called where the state can be saved, by all processes of a run.
    """
    if number := agree(watch.received or 0):
        raise Interrupted(number)


def check_alone() -> None:
    """Raise Interrupted if a signal has come to this process."""
    if watch.received is not None:
        raise Interrupted(watch.received)
