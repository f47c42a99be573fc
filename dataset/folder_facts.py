"""Facts that need all images of a folder: mean, deviation, and which ones are damaged.

Read once, and kept in the cache as `<cache_dir>/folder<img_size>-<fingerprint>.json`.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from dataset.cache import CHUNK, lock, write_whole
from dataset.folder_layout import Listing
from dataset.image_files import ImageFiles, WorkerPool, open_rgb
from helper.errors import UserError, reason_of

DAMAGED_AT_MOST = 0.1
"""Share of a split that may be left out."""
SIZES_LOOKED_AT = 200
"""Images whose sizes say that of the data set, where --img_size does not."""


@dataclass(frozen=True)
class Facts:
    """mean, std: per RGB channel, for pixels scaled to 0..1, of the training images.

    damaged: file name -> reason.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    damaged: dict[str, str]


def size_of_images(files: ImageFiles) -> int:
    """The side of the images, which are square and alike.

    UserError if they are not, and --img_size must say it.
    """
    sizes: dict[tuple[int, int], str] = {}
    for row in range(0, len(files), max(1, len(files) // SIZES_LOOKED_AT)):
        try:
            with Image.open(files.path(row)) as image:  # reads its head alone
                sizes.setdefault(image.size, files.path(row))
        except Exception:  # a damaged one, which is told of when all are read
            continue
    if len(sizes) == 1 and len(set(next(iter(sizes)))) == 1:
        return next(iter(sizes))[0]
    examples = ", ".join(f"{path} is {w}x{h}" for (w, h), path in list(sizes.items())[:2])
    raise UserError(
        f"--img_size is needed: the images in {files.folder} are not squares of one size "
        f"({examples or 'none can be read'} pixels); each is cut to a square and resized to it"
    )


def fitted(image: Image.Image, img_size: int) -> Image.Image:
    """The largest square in the middle of the image, resized to img_size.

    An image of that size as it is.
    """
    if image.size == (img_size, img_size):
        return image
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    middle = image.crop((left, top, left + side, top + side))
    return middle.resize((img_size, img_size), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class LoadFitted:
    """Row -> image (S, S, 3) uint8. UserError for a damaged one."""

    files: ImageFiles
    img_size: int

    def __call__(self, row: int) -> np.ndarray:
        return np.array(fitted(open_rgb(self.files.path(row)), self.img_size))


@dataclass(frozen=True)
class _Sums:
    """Row -> (sums of the values and of their squares (6,) int64, why it is damaged or "")."""

    load: LoadFitted

    def __call__(self, row: int) -> tuple[np.ndarray, str]:
        try:
            pixels = self.load(row).reshape(-1, 3).astype(np.int64)  # (SS, 3)
        except UserError as error:
            return np.zeros(6, np.int64), str(error)
        return np.concatenate([pixels.sum(0), np.square(pixels).sum(0)]), ""


def facts_of(
    listing: Listing, img_size: int, path: Path, *, num_workers: int, may_write: bool
) -> Facts:
    """The facts, from the file at `path`, or measured and written there.

    Where nothing may be written they are those of the first images alone: enough for the plan of a
    dry run. Raises UserError if too many images are damaged.
    """
    if (known := read_facts(path)) is not None:
        return known
    if not may_write:
        start = replace(listing, train=listing.train.first(CHUNK), test=None)
        return measure(start, img_size, num_workers)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock(path.parent / ".folder.lock", path):
            known = read_facts(path)  # another process may have measured it meanwhile
            if known is None:
                told = f"reading all images of {listing.root}/ once, for mean and deviation"
                print(told, flush=True)
                known = measure(listing, img_size, num_workers)
                write_whole(path, json.dumps(vars(known), indent=1).encode())
    except OSError as error:
        raise UserError(
            f"cannot write to {path.parent}/: {reason_of(error)} (--cache_dir names another folder)"
        ) from None
    return known


def read_facts(path: Path) -> Facts | None:
    """None if the file is absent or not whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        mean, std = (tuple(map(float, found[key])) for key in ("mean", "std"))
        return Facts(mean, std, {str(key): str(value) for key, value in found["damaged"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def measure(listing: Listing, img_size: int, num_workers: int) -> Facts:
    """Decode every image.

    The sums are whole numbers, so that neither order nor number of processes matters.
    """
    sums, count, damaged = torch.zeros(6, dtype=torch.int64), 0, {}
    for split, files in (("training", listing.train), ("test", listing.test)):
        if files is None:
            continue
        of_split, reasons = sums_of(files, img_size, num_workers, split)
        check_damage(files, reasons, split)
        damaged |= reasons
        if files is listing.train:
            sums, count = of_split, (len(files) - len(reasons)) * img_size**2
    means = [int(s) / (255 * count) for s in sums[:3]]
    squares = [int(s) / (255**2 * count) for s in sums[3:]]
    deviations = [max(q - m * m, 0) ** 0.5 for q, m in zip(squares, means)]
    if min(deviations) == 0:
        raise UserError(
            f"all training images in {listing.root} have one colour: there is nothing to learn"
        )
    return Facts(tuple(means), tuple(deviations), damaged)


def sums_of(
    files: ImageFiles, img_size: int, num_workers: int, split: str
) -> tuple[torch.Tensor, dict[str, str]]:
    """(sums over all images (6,), file name -> why it is damaged)."""
    rows = range(len(files))
    chunks = [rows[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    pool = WorkerPool(_Sums(LoadFitted(files, img_size)), chunks, num_workers=num_workers)
    total, damaged = torch.zeros(6, dtype=torch.int64), {}
    quiet = not sys.stderr.isatty()
    with tqdm(total=len(files), desc=f"reading {split} images", unit="image", disable=quiet) as bar:
        for chunk, (sums, reasons) in zip(chunks, pool):
            total += sums.sum(0)
            damaged |= {name_of(files, row): why for row, why in zip(chunk, reasons) if why}
            bar.update(len(chunk))
    return total, damaged


def name_of(files: ImageFiles, row: int) -> str:
    """The file's name, with what is no text in it escaped."""
    return bytes(files.names[row]).decode("utf-8", "backslashreplace")


def check_damage(files: ImageFiles, damaged: dict[str, str], split: str) -> None:
    """UserError if too many images are damaged, or all of a class."""
    if not damaged:
        return
    first = next(iter(damaged.values()))
    if len(damaged) > DAMAGED_AT_MOST * len(files):
        raise UserError(
            f"{len(damaged)} of {len(files)} {split} images cannot be read, more than one in ten;"
            f" the first: {first}"
        )
    kept = without(files, damaged)
    if split == "training" and len(set(kept.labels.tolist())) < len(set(files.labels.tolist())):
        raise UserError(f"no training image of a class can be read; the first that cannot: {first}")


def without(files: ImageFiles, damaged: Sequence[str] | dict[str, str]) -> ImageFiles:
    """The files that are not damaged."""
    keep = [row for row in range(len(files)) if name_of(files, row) not in damaged]
    return ImageFiles(files.folder, files.names[keep], files.labels[keep]) if damaged else files
