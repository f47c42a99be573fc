"""Fetch a public archive once, check it, and unpack the files asked for."""

import contextlib
import http.client
import os
import shutil
import socket
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch.hub

from helper.errors import UserError

TIMEOUT_S = 30.0
_BROKEN_ARCHIVE = (tarfile.TarError, EOFError, zlib.error)


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)  # the downloader takes no timeout of its own
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def fetch_archive(url: str, root: Path, folder: str, members: Sequence[str], sha256: str) -> None:
    """Download the tar archive at `url` and put `members` of its `folder` into `root/folder`.

    All or nothing: the folder appears only when it is complete. Raises UserError if there is no network,
    the checksum differs or the disk refuses.
    """
    is_new = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as scratch:
            archive = Path(scratch) / "archive"
            print(f"downloading {url} to {root}/", flush=True)
            with _socket_timeout(TIMEOUT_S):
                torch.hub.download_url_to_file(url, str(archive), hash_prefix=sha256)
            _unpack(archive, Path(scratch), folder, members)
            os.replace(Path(scratch) / folder, root / folder)
    except (OSError, RuntimeError, http.client.HTTPException, KeyError, *_BROKEN_ARCHIVE) as error:
        if is_new:
            with contextlib.suppress(OSError):
                root.rmdir()
        raise UserError(
            f"could not download {url} ({error}). With no network, fetch it elsewhere and unpack it so that "
            f"{root / folder}/ holds {', '.join(members)} (--data_root names the folder above)"
        ) from None


def _unpack(archive: Path, destination: Path, folder: str, members: Sequence[str]) -> None:
    """Write regular files only, under names of ours: an archive cannot leave its folder."""
    (destination / folder).mkdir()
    with tarfile.open(archive) as tar:
        for member in members:
            source = tar.extractfile(f"{folder}/{member}")
            if source is None:
                raise KeyError(f"{folder}/{member} is not a file")
            with source, open(destination / folder / member, "wb") as target:
                shutil.copyfileobj(source, target)
