"""Batches of image files that do not fit into memory, made by worker processes.

Which images and which random numbers make a batch is drawn in the main process, from an explicit
generator, so that neither the number of workers nor their speed changes a batch. Of several
processes of a run each decodes its part of a batch, and all get all of it: an image may be mixed
with one that another process decoded. Images travel as bytes and are normalised on the device.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from dataset.batches import Batches, DefaultDA, Normalize
from dataset.image_files import ImageFiles, WorkerPool, open_rgb
from dataset.spec import DatasetSpec

Request = tuple[int, int, int]
"""(row of the split, place in the part that is served, seed of this image's random draws in this
pass)"""


class Sharing(Protocol):
    """The division of a batch's rows among processes; `helper.processes.distributed` is one."""

    def size(self) -> int:
        """The number of processes."""
        ...

    def part(self, count: int) -> slice:
        """The rows of `count` that this process has."""
        ...

    def gathered(self, rows: torch.Tensor, count: int) -> torch.Tensor:
        """The rows of this process -> all `count` rows."""
        ...


class OneProcess:
    """A run of one process, which has all rows."""

    def size(self) -> int:
        return 1

    def part(self, count: int) -> slice:
        return slice(count)

    def gathered(self, rows: torch.Tensor, count: int) -> torch.Tensor:
        return rows


class StreamedBatches:
    """An iterable over one split's batches (images, labels, places), like `Batches`.

    With a generator: shuffled, with the default DA, anew in each pass: a random part of the image,
    resized (Szegedy et al., CVPR 2015, arXiv 1409.4842), and a flip. Without: in order, the centre
    of each image. The last batch is short where the batch size does not divide the split. `rows`,
    (n,) int64, restricts it to a part.
    """

    def __init__(
        self,
        files: ImageFiles,
        spec: DatasetSpec,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
        default_da: DefaultDA | None = None,
        rows: torch.Tensor | None = None,
        num_workers: int = 0,
        sharing: Sharing = OneProcess(),  # noqa: B008  (it holds nothing)
    ) -> None:
        self.device, self.sharing = torch.device(device), sharing
        self.batch_size = batch_size
        self.normalize = Normalize(spec, device)
        transforms()  # once, ahead of the worker processes
        self.requests = _Requests(len(files), rows, batch_size, generator, sharing)
        random = default_da or DefaultDA()
        load = LoadView(
            files, spec.img_size, DefaultDA(crop=False, flip=False) if generator is None else random
        )
        self.pool = WorkerPool(
            load, self.requests, num_workers=num_workers, pin_memory=self.device.type == "cuda"
        )

    @property
    def count(self) -> int:
        return self.requests.count

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def served_labels(self) -> torch.Tensor:
        """(count,) int64: the label at each place."""
        labels, rows = self.pool.load.files.labels, self.requests.rows
        return labels if rows is None else labels[rows]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        return self.starting_at(0)

    def starting_at(self, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """A pass without its first `step` batches; its random draws are those of the whole pass.

        Raises UserError for a file that cannot be read.
        """
        self.requests.start = step
        for index, batch in enumerate(self.pool, step):
            parts = (part.to(self.device, non_blocking=True) for part in batch)
            count = min(self.requests.batch_size, self.count - index * self.requests.batch_size)
            if count >= self.sharing.size():
                parts = (self.sharing.gathered(part, count) for part in parts)
            images, labels, places = parts
            yield self.normalize(images), labels, places


AnyBatches = Batches | StreamedBatches


@functools.cache
def transforms() -> ModuleType:
    """torchvision's, which takes a second to import: not for who streams nothing."""
    from torchvision.transforms import functional

    return functional


class _Requests:
    """The lists of requests of a pass, a list a batch; drawn anew when the pass begins."""

    def __init__(
        self,
        count: int,
        rows: torch.Tensor | None,
        batch_size: int,
        generator: torch.Generator | None,
        sharing: Sharing,
    ) -> None:
        self.count = count if rows is None else len(rows)
        self.rows, self.batch_size, self.generator, self.sharing = (
            rows,
            batch_size,
            generator,
            sharing,
        )
        self.start = 0
        """The first batch of the next pass."""

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[Request]]:
        if self.generator is None:
            places = torch.arange(self.count)
            seeds = torch.zeros_like(places)
        else:
            places = torch.randperm(self.count, generator=self.generator)
            seeds = torch.randint(2**62, (self.count,), generator=self.generator)
        rows = places if self.rows is None else self.rows[places]
        first = self.start * self.batch_size
        for part in zip(
            *(column[first:].split(self.batch_size) for column in (rows, places, seeds))
        ):
            count = len(part[0])
            own = self.sharing.part(count) if count >= self.sharing.size() else slice(None)
            yield list(zip(*(column[own].tolist() for column in part)))


@dataclass(frozen=True)
class LoadView:
    """Request -> (image (H, W, 3) uint8, label, place).

    The image is a random view or, without the crop, the centre.
    """

    files: ImageFiles
    img_size: int
    random: DefaultDA

    def __call__(self, request: Request) -> tuple[np.ndarray, int, int]:
        row, place, seed = request
        image, draw = open_rgb(self.files.path(row)), np.random.default_rng(seed)
        mirror = draw.random() < 0.5
        if self.random.crop:
            top, left, height, width = random_part(image.height, image.width, draw)
            size = [self.img_size, self.img_size]
            image = transforms().resized_crop(image, top, left, height, width, size)
        else:
            image = centre(image, self.img_size)
        if self.random.flip and mirror:
            image = transforms().hflip(image)
        return np.array(image), int(self.files.labels[row]), place


def random_part(height: int, width: int, draw: np.random.Generator) -> tuple[int, int, int, int]:
    """(top, left, height, width): 8 to 100 % of the area, 3:4 to 4:3, anywhere.

    Ten tries to find one that fits; then the largest part in the middle whose sides are in that
    proportion.
    """
    for _ in range(10):
        area = height * width * draw.uniform(0.08, 1)
        ratio = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))  # width / height
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(draw.integers(height - h + 1)), int(draw.integers(width - w + 1)), h, w
    h, w = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w


def centre(image: Image.Image, img_size: int) -> Image.Image:
    """The middle of the image, its shorter side resized to 8/7 of img_size (256 for 224)."""
    return transforms().center_crop(
        transforms().resize(image, round(img_size * 8 / 7)), [img_size, img_size]
    )
