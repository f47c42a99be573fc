"""Fetch public files once, check them, and unpack what is asked for."""

import contextlib
import errno
import hashlib
import http.client
import lzma
import os
import shutil
import socket
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

import torch.hub

from dataset.registry import DataRequest
from helper.errors import UserError, reason_of

TIMEOUT_S = 30.0
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
REFUSED_BY_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
_BROKEN_ARCHIVE = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error,
    KeyError, ValueError, OverflowError,
)  # fmt: skip


def is_absent(folder: Path) -> bool:
    """True if there is nothing of that name.

    UserError if that cannot be told, or if it is a link to nothing.
    """
    try:
        os.lstat(folder)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise UserError(
            f"cannot read {folder}/: {error.strerror} (--data_root names the folder above)"
        ) from None
    if not os.path.isdir(folder):
        raise UserError(f"{folder} is not a folder (--data_root names the folder above)")
    return False


def located(request: DataRequest, name: str, needed: Sequence[str]) -> Path:
    """The data set's folder `name` in --data_root.

    Or --data_root itself, if it holds what is `needed`.
    """
    folder = request.root / name
    is_itself = not os.path.lexists(folder) and all((request.root / one).exists() for one in needed)
    return request.root if is_itself else folder


def fetch_archive(
    request: DataRequest,
    folder: Path,
    *,
    url: str,
    sha256: str,
    needed: Sequence[str],
    keep: Callable[[str], bool],
) -> None:
    """Put the archive's folder `folder.name` into place: the files that `keep` accepts by path.

    An archive that lies in --data_root already is taken, not downloaded; a warning tells where it
    is not the public one. All or nothing: the folder appears only when it is complete, with all
    that is `needed`. Raises UserError if nothing may be written, there is no network, the checksum
    of a download differs, the archive is damaged or the disk refuses.
    """
    here = archive_beside(folder, PurePosixPath(url).name)
    if here is None:
        with _making(request, folder, f"could not download {url}", needed) as scratch:
            archive = scratch.with_name("archive")
            _download(url, archive, sha256)
            _unpack(archive, scratch, keep)
        return
    if not request.may_write:
        raise UserError(
            f"--data_root {request.root}: {folder}/ is absent (a training run unpacks {here})"
        )
    print(f"unpacking {here}", flush=True)
    if _digest_of(here) != sha256:
        print(f"warning: {here} is not the public archive (its SHA-256 differs)", flush=True)
    with _making(request, folder, f"{here} is damaged, or no such archive", needed) as scratch:
        _unpack(here, scratch, keep)


def archive_beside(folder: Path, public_name: str) -> Path | None:
    """An archive of the data set in the folder above: of the public name, or of the folder's."""
    stem = public_name.removesuffix(".gz").removesuffix(".tar").removesuffix(".zip")
    names = [public_name, *(f"{name}{end}" for name in (stem, folder.name) for end in ARCHIVES)]
    places = [folder.parent / name for name in names]
    return next((place for place in places if place.is_file()), None)


def _digest_of(archive: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(archive, "rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
        return digest.hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {archive}: {error.strerror}") from None


def _unpack(archive: Path, scratch: Path, keep: Callable[[str], bool]) -> None:
    """Write the files below the archive's folder `scratch.name` that `keep` accepts."""
    for name, file in _members(archive):
        path = PurePosixPath(name)
        inner = path.relative_to(scratch.name) if path.is_relative_to(scratch.name) else None
        if inner is None or ".." in path.parts or not keep(str(inner)):
            continue
        (scratch / inner).parent.mkdir(parents=True, exist_ok=True)
        with file, open(scratch / inner, "wb") as target:
            shutil.copyfileobj(file, target)


def fetch_files(request: DataRequest, folder: Path, *, url: str, sha256: dict[str, str]) -> None:
    """Put the files `url`/name into `folder`, for each name in `sha256`.

    All or nothing; raises UserError.
    """
    with _making(request, folder, f"could not download {url}", list(sha256)) as scratch:
        for name, digest in sha256.items():
            _download(f"{url}/{name}", scratch / name, digest)


@contextlib.contextmanager
def _making(
    request: DataRequest, folder: Path, problem: str, needed: Sequence[str]
) -> Iterator[Path]:
    """A folder to fill, which then becomes `folder`.

    What goes wrong within leaves nothing, and is told in one line that begins with `problem`.
    """
    root = folder.parent
    if not request.may_write:
        raise UserError(
            f"--data_root {request.root}: {folder}/ is absent (a training run downloads it;"
            " --dataset synthetic needs no files)"
        )
    is_new = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as parent:
            scratch = Path(parent) / folder.name
            scratch.mkdir()
            yield scratch
            for name in needed:
                if not (scratch / name).exists():
                    raise KeyError(f"the archive has no {folder.name}/{name}")
            os.replace(scratch, folder)
    except UserError:
        raise
    except (OSError, RuntimeError, http.client.HTTPException, *_BROKEN_ARCHIVE) as error:
        if is_new:
            with contextlib.suppress(OSError):
                root.rmdir()
        if isinstance(error, OSError) and error.errno in REFUSED_BY_DISK:
            raise UserError(
                f"cannot write {folder}/: {reason_of(error)} (--data_root names another folder)"
            ) from None
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{problem} ({reason}). With no network, fetch it elsewhere and unpack it"
            f" so that {folder}/ holds {', '.join(needed)} (--data_root names the folder above)"
        ) from None


def _download(url: str, path: Path, sha256: str) -> None:
    print(f"downloading {url}", flush=True)
    with _socket_timeout(TIMEOUT_S):
        torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """(name, opened file) of each regular file in a tar or zip archive. Links are passed over."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as container:
            for info in container.infolist():
                if not info.is_dir():
                    yield info.filename, container.open(info)
        return
    with tarfile.open(archive) as container:
        for info in container:
            file = container.extractfile(info) if info.isreg() else None
            if file is not None:
                yield info.name, file


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)  # the downloader takes no timeout of its own
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
