"""Image files: found by class, decoded in worker processes, the damaged one named."""

import hashlib
import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from helper.errors import UserError

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff")


@dataclass(frozen=True)
class ImageFiles:
    """One split as files, decoded when they are needed.

    names: (N,) file names as bytes, relative to `folder`; an array, since worker processes share
    its memory.
    labels: (N,) int64 in 0..K-1.
    """

    folder: Path
    names: np.ndarray
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.names)

    def path(self, row: int) -> str:
        return os.path.join(self.folder, os.fsdecode(self.names[row]))

    def paths(self) -> Iterator[str]:
        return map(self.path, range(len(self)))

    def first(self, count: int | None) -> "ImageFiles":
        """The first `count` files; all of them if `count` is None."""
        return (
            self
            if count is None
            else ImageFiles(self.folder, self.names[:count], self.labels[:count])
        )

    def digest(self) -> str:
        """SHA-256 of all names and labels; the images themselves would take too long to read."""
        sha = hashlib.sha256(b"\n".join(self.names.tolist()))
        sha.update(self.labels.numpy().data)
        return sha.hexdigest()

    def to(self, device: torch.device | str) -> "ImageFiles":
        """Itself: files go to the device batch by batch."""
        return self


def class_folders(folder: Path, num_classes: int) -> list[str]:
    """The names of the class folders, sorted: class k is the k-th.

    UserError unless there are `num_classes`.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise UserError(f"cannot read {folder}/: {error.strerror}") from None
    if len(names) != num_classes:
        raise UserError(
            f"{folder}/ holds {len(names)} class folders, not {num_classes}: a folder for each"
            " class"
        )
    return names


def find_images(folder: Path, class_names: Sequence[str], *, inner: str = "") -> ImageFiles:
    """The images in `folder/<class>/<inner>`, class k being class_names[k].

    In an order that takes the first image of every class, then the second of every class, and so
    on, so that the first N are balanced. UserError if a folder is absent or a class has no image.
    """
    names, labels, ranks = [], [], []
    for label, class_name in enumerate(class_names):
        path = folder / class_name / inner
        try:
            with os.scandir(path) as entries:
                found = sorted(entry.name for entry in entries if is_image(entry))
        except OSError as error:
            raise UserError(f"cannot read {path}/: {error.strerror}") from None
        if not found:
            raise UserError(f"{path}/ holds no image ({', '.join(SUFFIXES)})")
        names += [os.fsencode(Path(class_name, inner, name)) for name in found]
        labels += [label] * len(found)
        ranks += range(len(found))
    order = np.lexsort((labels, ranks))  # by rank, then by class
    return ImageFiles(
        folder, np.array(names)[order], torch.tensor(labels, dtype=torch.int64)[order]
    )


def is_image(entry: os.DirEntry) -> bool:
    """By its name; hidden files, such as the ._x.JPEG that a Mac leaves, are none."""
    return (
        entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file()
    )


def open_rgb(path: str | Path) -> Image.Image:
    """The image, decoded, grey ones and palettes as RGB.

    UserError names a file that cannot be read.
    """
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")  # of odd but readable files
            if image.mode.startswith("I"):
                raise ValueError("it has 16 or more bits a channel, 8 are expected")
            return image.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except Exception as error:  # a damaged file can raise nearly anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged or no image: {reason}") from None


def available_workers(wanted: int) -> int:
    """As many processes as are wanted, but no more than there are processors for us."""
    return min(
        wanted,
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


class _Requests(torch.utils.data.Dataset):
    """Request -> what `load` makes of it.

    An error is handed over as a value, so that it arrives in one piece.
    """

    def __init__(self, load: Callable[[Any], Any]) -> None:
        self.load = load

    def __getitem__(self, request: Any) -> Any:
        try:
            return self.load(request)
        except UserError as error:
            return error


def _collate(samples: list) -> Any:
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
    return torch.utils.data.default_collate(samples)


def _leave_interrupts_to_the_main_process(_: int) -> None:
    # SIGTERM is how PyTorch ends its workers.
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


class WorkerPool:
    """Processes that turn requests into batches, in order; they live as long as the pool.

    `load` turns one request into a sample (arrays, numbers or tuples of them). Iterating over
    `requests`, an iterable of lists of requests, read anew in each pass, gives a batch for each
    list.
    """

    def __init__(
        self,
        load: Callable[[Any], Any],
        requests: Iterable[Any],
        *,
        num_workers: int,
        pin_memory: bool = False,
    ) -> None:
        self.load, workers = load, available_workers(num_workers)
        self.loader: DataLoader | None = DataLoader(
            _Requests(load),
            batch_sampler=requests,
            collate_fn=_collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=_leave_interrupts_to_the_main_process,
            generator=torch.Generator(),  # its own: it draws seeds that nobody uses
        )

    def __iter__(self) -> Iterator[Any]:
        """Raises UserError for the first file that cannot be read, or if a worker died.

        That ends the pool.
        """
        assert self.loader is not None  # a pool that has ended is not used again
        iterator = iter(self.loader)
        try:
            for batch in iterator:
                if isinstance(batch, UserError):
                    raise batch
                yield batch
        except UserError:
            # This ends the workers now, not when the traceback is forgotten.
            self.loader = iterator = None
            raise
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise UserError(
                f"a process that decodes images died ({str(error).splitlines()[0]}); is memory"
                " short, or /dev/shm? Try a smaller --num_workers, or 0"
            ) from None
