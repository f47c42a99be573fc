"""Text that grows whole line by whole line, and the lock on a run folder."""

import os
import resource
import signal
import subprocess
import sys

import pytest
from places import ROOT

from helper.errors import UserError
from helper.run.files import AppendedText, Lock


def test_text_is_there_at_once(tmp_path):
    text = AppendedText(tmp_path / "log.txt")
    text.append("eins\n")
    text.append("zwei \udcff é\n")
    assert (tmp_path / "log.txt").read_bytes() == b"eins\nzwei \xff \xc3\xa9\n"
    assert text.flush_to_disk() == 15


def in_child(work):
    """Run in a child process; its exit status."""
    pid = os.fork()
    if not pid:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_line_that_does_not_fit_leaves_no_half(tmp_path):
    text = AppendedText(tmp_path / "log.txt")
    text.append("first\n")

    def grow():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        with pytest.raises(OSError, match=r"File too large.*log\.txt"):
            text.append("a second one\n")

    assert in_child(grow) == 0
    assert (tmp_path / "log.txt").read_text() == "first\n"


@pytest.mark.parametrize(
    "length, kept, cut",
    [
        (6, "first\n", "second\n"),
        (13, "first\nsecond\n", ""),
        (None, "first\nsecond\n", ""),
        (99, "first\nsecond\nhal", ""),
        (0, "", "first\nsecond\n"),
    ],
)
def test_what_came_after_is_cut_off(tmp_path, length, kept, cut):
    path = tmp_path / "log.txt"
    path.write_text("first\nsecond\nhal")
    assert AppendedText(path).cut(length) == cut
    assert path.read_text() == kept


HOLDER = """
import sys
from pathlib import Path
from helper.run.files import Lock
lock = Lock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path):
    (tmp_path / "log").mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=ROOT,
    )  # fmt: skip
    assert holder.stdout.readline() == b"locked\n"
    for create in (True, False):
        with pytest.raises(UserError, match=rf"is in use by process {holder.pid} on "):
            Lock(tmp_path, create=create)
    holder.kill()
    holder.communicate()
    lock = Lock(tmp_path)
    assert (tmp_path / "log" / "lock").read_text().startswith(f"process {os.getpid()} on ")
    lock.release()


def test_looking_makes_no_lock(tmp_path):
    (tmp_path / "log").mkdir()
    Lock(tmp_path, create=False).release()
    Lock(tmp_path).discard()
    assert list((tmp_path / "log").iterdir()) == []
