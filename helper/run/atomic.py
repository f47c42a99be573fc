"""Files that are written whole or not at all: a reader sees the old one or the new one."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from helper.errors import UserError, reason_of


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write beside the file, flush to disk, then rename. Raises OSError."""
    with written_beside(path, content) as temporary:
        os.replace(temporary, path)
        flush_folder(path.parent)


@contextlib.contextmanager
def written_beside(path: Path, content: bytes | memoryview) -> Iterator[str]:
    """A file beside `path` with this content, flushed to disk.

    It is removed at the end, if it has not been renamed.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def flush_folder(folder: Path) -> None:
    """Renames in the folder outlast a power failure from here on."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_result(path: Path, content: str | bytes) -> None:
    """Write a file that the user has named; make its folder. UserError if the disk refuses."""
    data = content if isinstance(content, bytes) else content.encode("utf-8", errors="replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = reason_of(error) if isinstance(error, OSError) else error
        raise UserError(f"cannot write {path}: {reason}") from None
