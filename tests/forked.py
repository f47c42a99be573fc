"""Runs an entry script in a child process that has imported everything already: half a second
instead of five."""

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch._dynamo  # noqa: F401  (two seconds that each optimizer takes: once for all forks)
from command_line import PROGRAMS

from tqdm import tqdm

from helper.errors import one_line_errors
from helper.processes import distributed
from helper.processes.interruption import STATUS, listening


@dataclass
class Child:
    """A run under way; its output goes to files."""

    pid: int
    output: Path

    def kill(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float = 240) -> int:
        """The exit status; minus the signal's number if one ended it.

        A child that hangs is ended: TimeoutError.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        self.kill(signal.SIGABRT)  # it says where it hangs
        os.waitpid(self.pid, 0)
        raise TimeoutError(f"still running after {seconds} s, see {self.output}:\n{self.stderr}")

    @property
    def stdout(self) -> str:
        return self._read(".out")

    @property
    def stderr(self) -> str:
        return self._read(".err")

    def _read(self, suffix: str) -> str:
        try:
            return self.output.with_suffix(suffix).read_text(errors="replace")
        except FileNotFoundError:  # it has not begun yet
            return ""


def start(program, words, folder, *, output, prepare=lambda: None):
    """`python program words` in `folder`.

    `program` may be a function of the words, too. `output`: path without suffix.
    """
    main = program if callable(program) else PROGRAMS[program].main
    name = getattr(program, "__name__", program)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Child(pid, output)
    status = 1
    try:
        os.chdir(folder)
        for stream, suffix in ((1, ".out"), (2, ".err")):
            handle = os.open(output.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, stream)
        sys.stdout, sys.stderr = (
            open(number, "w", buffering=1, closefd=False, errors="backslashreplace")
            for number in (1, 2)
        )
        faulthandler.enable(2)
        for number in STATUS:  # a shell lets its background jobs ignore SIGINT
            signal.signal(number, signal.SIG_DFL)
        # tqdm's own lock is shared by all forks: one killed while it writes would stop the others.
        tqdm.set_lock(threading.RLock())
        prepare()
        with one_line_errors(name), listening(), distributed.session():
            main(words.split() if isinstance(words, str) else list(words))
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def finish(program, words, folder, *, output, prepare=lambda: None, seconds=240):
    """Run to the end. Returns (exit status, stdout, stderr)."""
    child = start(program, words, folder, output=output, prepare=prepare)
    return child.wait(seconds), child.stdout, child.stderr
