"""Files of a run folder: text that grows by whole lines, and the lock of its process."""

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from helper.errors import UserError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Error numbers of a file system without locks: the run goes on without a lock."""


class AppendedText:
    """A text file that grows.

    What is appended is there at once, and whole: on a full disk nothing of it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "ab", buffering=0)

    def append(self, text: str) -> None:
        start, rest = (
            self._file.seek(0, os.SEEK_END),
            memoryview(text.encode(errors="surrogateescape")),
        )
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(start)
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def cut(self, length: int | None) -> str:
        """Shorten the file to `length` bytes, or (None) to whole lines.

        Returns what was cut off, whole lines of it.
        """
        content = self.path.read_bytes()
        length = content.rfind(b"\n") + 1 if length is None else length
        cut = content[length:]
        if cut:
            self._file.truncate(length)
        return cut[: cut.rfind(b"\n") + 1].decode(errors="surrogateescape")

    def flush_to_disk(self) -> int:
        """Returns the length in bytes."""
        os.fsync(self._file.fileno())
        return self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        self._file.close()


def take_lock(file: IO[str], *, byte: int | None = None) -> bool:
    """Lock a file, or one byte of it, until it is closed. False if another process has it.

    Not flock, and so not the library filelock: child processes, which decode images, would hold
    that too.
    """
    span = (0, 0) if byte is None else (1, byte)  # length (0: all of it) and start
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *span)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


class Lock:
    """One process writes to a run folder.

    The system takes the lock back when the process ends, however it ends.

    `create`: whether to make the lock's file. Without it a folder that has none is only looked at.
    """

    def __init__(self, run: Path, *, create: bool = True) -> None:
        """Raises UserError if another process has it."""
        self._path, self._file = run / "log" / "lock", None
        self._is_new = not self._path.exists()
        if self._is_new and not create:
            return
        self._file = open(self._path, "a+")
        if not take_lock(self._file):
            self._file.seek(0)
            holder = self._file.read(200).strip()
            self._file.close()
            raise UserError(f"{run} is in use by {holder or 'another process'}")
        if create:
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._file.flush()

    def release(self) -> None:
        if self._file is not None:
            self._file.close()

    def discard(self) -> None:
        """Release it, and leave the folder as it was."""
        self.release()
        if self._is_new:
            self._path.unlink(missing_ok=True)
