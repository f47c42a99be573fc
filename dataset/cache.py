"""Decoded images on disk: written once, mapped to memory by every later run.

    <cache_dir>/<name>-<fingerprint>/{train,test}_images.npy     (N, H, W, 3) uint8
                                     {train,test}_labels.npy     (N,) int64

The fingerprint is that of the source files (names, sizes, times of change): if one of them has
changed, the old cache is not found, and a new one is built. A cache appears whole, by one rename.
Several processes may want it at once: one builds, the others wait. Mapped pages belong to the
system: all runs on a machine share them, and they are dropped when memory is short.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dataset.image_files import ImageFiles, WorkerPool, open_rgb
from dataset.registry import DataRequest
from dataset.spec import ImageSet
from helper.errors import UserError, reason_of

VERSION = 1
"""Version of the layout above; with another number every cache is made anew."""
SPLITS = ("train", "test")
CHUNK = 256
"""Images decoded and written at once."""


@dataclass(frozen=True)
class Decoded:
    """A split that is written to the cache, in chunks (n, H, W, 3) uint8 in the labels' order."""

    labels: torch.Tensor
    chunks: Iterable[np.ndarray]


def fingerprint(source: Path, paths: Iterable[str]) -> str:
    """A digest of these files in `source`.

    It changes when one is added, removed, renamed, resized or written anew.
    """
    digest = hashlib.sha256(f"{VERSION}\n".encode())
    for path in paths:
        try:
            status = os.stat(path)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        name = path.removeprefix(str(source))
        digest.update(
            f"{name} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape")
        )
    return digest.hexdigest()[:16]


def cached(
    request: DataRequest,
    name: str,
    source: Path,
    mark: str,
    decode: Mapping[str, Callable[[], Decoded]],
) -> dict[str, ImageSet]:
    """The splits from the cache of data set `name`, whose source files have the fingerprint `mark`.

    It is built by `decode`, split after split, if it is absent or damaged, and an older one of the
    same `source` is removed. Where nothing may be written and there is none, a stand-in is
    returned: enough for the plan of a dry run. Raises UserError where the disk or `decode` refuses.
    """
    cache_dir = request.cache_dir or request.root / "cache"
    folder = cache_dir / f"{name}-{mark}"
    if splits := _open(folder, decode):
        return splits
    if not request.may_write:
        return {split: _stand_in(decode_split()) for split, decode_split in decode.items()}
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with lock(cache_dir / f".{name}.lock", folder) as is_alone:
            if splits := _open(folder, decode):  # another process has built it meanwhile
                return splits
            if is_alone:  # what a killed build has left
                for leftover in cache_dir.glob(f".building-{name}-*"):
                    shutil.rmtree(leftover, ignore_errors=True)
            _build(cache_dir, name, folder, source, decode)
    except OSError as error:
        raise UserError(
            f"cannot write decoded images to {cache_dir}/: {reason_of(error)} (--cache_dir"
            " names another folder)"
        ) from None
    splits = _open(folder, decode)
    assert splits is not None, folder  # it has just been built
    return splits


def _stand_in(decoded: Decoded) -> ImageSet:
    """Images of the right size, but each is the first."""
    first = torch.from_numpy(next(iter(decoded.chunks)))[:1]
    return ImageSet(first.expand(len(decoded.labels), -1, -1, -1), decoded.labels)


def decode_files(files: ImageFiles, img_size: int, num_workers: int, title: str) -> Decoded:
    """The images of a split. All must be img_size x img_size."""
    return decoded_by(_DecodeWhole(files, img_size), files, num_workers, title)


def decoded_by(
    load: Callable[[int], np.ndarray], files: ImageFiles, num_workers: int, title: str
) -> Decoded:
    """The images of a split, made of its rows by `load` in worker processes; shows progress."""

    def chunks() -> Iterator[np.ndarray]:
        rows = range(len(files))
        requests = [rows[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
        pool = WorkerPool(load, requests, num_workers=num_workers)
        with tqdm(
            total=len(files), desc=title, unit="image", disable=not sys.stderr.isatty()
        ) as bar:
            for chunk in pool:
                yield chunk.numpy()
                bar.update(len(chunk))

    return Decoded(files.labels, chunks())


@dataclass(frozen=True)
class _DecodeWhole:
    files: ImageFiles
    img_size: int

    def __call__(self, row: int) -> np.ndarray:
        path = self.files.path(row)
        image = open_rgb(path)
        if image.size != (self.img_size, self.img_size):
            width, height = image.size
            raise UserError(
                f"{path} is {width}x{height} pixels, not {self.img_size}x{self.img_size}"
            )
        return np.array(image)


def _open(folder: Path, names: Iterable[str]) -> dict[str, ImageSet] | None:
    """The splits of these names, mapped to memory; None if they are not there, or not whole."""
    splits = {}
    try:
        for split in names:
            # Copy on write: PyTorch wants memory that it may write to, and the file stays as it is.
            images = np.load(folder / f"{split}_images.npy", mmap_mode="c", allow_pickle=False)
            labels = np.load(folder / f"{split}_labels.npy", allow_pickle=False)
            if images.dtype != np.uint8 or images.ndim != 4 or labels.dtype != np.int64:
                return None
            if labels.shape != images.shape[:1]:
                return None
            splits[split] = ImageSet(torch.from_numpy(images), torch.from_numpy(labels))
    except (OSError, ValueError, EOFError):
        return None
    return splits


def _build(
    cache_dir: Path,
    name: str,
    folder: Path,
    source: Path,
    decode: Mapping[str, Callable[[], Decoded]],
) -> None:
    """Write beside the place, then rename."""
    print(f"decoding {source}/ into {folder}/, once", flush=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".building-{name}-", dir=cache_dir))
    try:
        scratch.chmod(0o755)
        for split, decode_split in decode.items():
            decoded = decode_split()
            np.save(scratch / f"{split}_labels.npy", decoded.labels.numpy())
            _write_images(scratch / f"{split}_images.npy", decoded)
        (scratch / "source.json").write_text(json.dumps(str(source.resolve())))
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    _remove_older(cache_dir, name, folder)


def _write_images(path: Path, decoded: Decoded) -> None:
    """An .npy file written chunk by chunk.

    Not through mapped memory: there, a full disk kills the process.
    """
    count = 0
    with open(path, "wb") as file:
        for chunk in decoded.chunks:
            if not count:
                shape = (len(decoded.labels), *chunk.shape[1:])
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(file, header)
            assert chunk.dtype == np.uint8 and chunk.ndim == 4, (chunk.dtype, chunk.shape)
            file.write(np.ascontiguousarray(chunk).data)
            count += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    assert count == len(decoded.labels), (count, len(decoded.labels))


def _remove_older(cache_dir: Path, name: str, folder: Path) -> None:
    """Older caches of the same source. A run that has one mapped keeps it until it ends."""
    source = (folder / "source.json").read_text()
    for older in cache_dir.glob(f"{name}-*"):
        with contextlib.suppress(OSError):
            if older != folder and (older / "source.json").read_text() == source:
                shutil.rmtree(older, ignore_errors=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the place, then rename. Raises OSError."""
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise


@contextlib.contextmanager
def lock(path: Path, wanted: Path) -> Iterator[bool]:
    """One process alone is within; the system releases the lock if that process dies.

    wanted: what is made within, for the message of those who wait. Yields False where the file
    system has no locks: then several processes may be within.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process, which makes {wanted}", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            yield False
            return
        yield True
    finally:
        os.close(handle)
