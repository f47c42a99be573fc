"""Batches that never leave the device: gather, random crop and flip, normalise.

The whole split lives on the device as bytes (CIFAR-100: 150 MB). An epoch's random draws are made
at once on the CPU, from an explicit generator, so that the same seed gives the same batches on
every device.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from dataset.spec import DatasetSpec, ImageSet


@dataclass(frozen=True)
class DefaultDA:
    """Augmentation of every training image by itself: a crop out of a black margin, a mirror."""

    crop: bool = True
    flip: bool = True


def crop_and_flip(
    images: torch.Tensor,
    index: torch.Tensor,
    *,
    top: torch.Tensor,
    left: torch.Tensor,
    mirror: torch.Tensor,
    fill: torch.Tensor | float = 0,
) -> torch.Tensor:
    """Gather images by index, shift each by its own offset and mirror it, in one pass.

    images: (N, H, W, C), any dtype. index: (B,) rows. top, left: (B,) or (1,) offsets in pixels;
    pixel (i, j) of the result comes from (i + top, j + left), or is `fill` where that lies outside.
    mirror: (B,) or (1,) bool, applied after the shift. A `fill` per channel is a (C,) tensor on the
    images' device. Returns (B, H, W, C).
    """
    height, width = images.shape[1:3]
    rows = torch.arange(height, device=images.device) + top[:, None]  # (B, H)
    columns = torch.arange(width, device=images.device)  # (W,)
    columns = torch.where(mirror[:, None], columns.flip(0), columns) + left[:, None]  # (B, W)
    inside_rows = (rows >= 0) & (rows < height)
    inside_columns = (columns >= 0) & (columns < width)
    gathered = images[
        index[:, None, None],
        rows.clamp(0, height - 1)[:, :, None],
        columns.clamp(0, width - 1)[:, None, :],
    ]  # (B, H, W, C)
    inside = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]  # (B, H, W, 1)
    fill = fill.to(images.dtype) if torch.is_tensor(fill) else images.new_full((), fill)
    return torch.where(inside, gathered, fill)


@functools.cache
def normalize_for(spec: DatasetSpec, device: torch.device) -> "Normalize":
    """The one Normalize of a data set on a device, so that its constants are copied there once."""
    return Normalize(spec, device)


class Normalize:
    """Bytes to what the networks read: (x / 255 - mean) / std, and back."""

    def __init__(self, spec: DatasetSpec, device: torch.device | str = "cpu") -> None:
        self.mean = torch.tensor(spec.mean, device=device)
        self.std = torch.tensor(spec.std, device=device)
        self.black = -self.mean / self.std
        """(3,) the value of a black pixel."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) float32, in channels_last memory."""
        return ((images.float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2)

    def undo(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised -> (B, 3, H, W) uint8, rounded: exact for unchanged pixels."""
        return (self.undo_to_floats(images) * 255).round().clamp(0, 255).to(torch.uint8)

    def undo_to_floats(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised -> float32, 0..1 for what was a byte; nothing is cut."""
        return images * self.std[:, None, None] + self.mean[:, None, None]


class Batches:
    """An iterable over one split's batches (images, labels, places).

    images: (B, 3, H, W) normalised float32. labels: (B,) int64. places: (B,) int64, where in the
    split, or in the part of it that is served, the images stand: 0..count-1.

    With a generator: shuffled, with the default DA, anew in each pass. Without: in order,
    untouched. The last batch is short where the batch size does not divide the split. `rows`, (n,)
    int64, restricts it to a part. `at_once`: how many shuffled batches are made together; a batch
    is then a view of their images.
    """

    def __init__(
        self,
        split: ImageSet,
        spec: DatasetSpec,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
        default_da: DefaultDA | None = None,
        rows: torch.Tensor | None = None,
        at_once: int = 1,
    ) -> None:
        split = split.to(device)
        self.images, self.labels = split.images, split.labels
        self.device = split.labels.device
        self.rows = None if rows is None else rows.to(self.device)
        self.count = len(split) if rows is None else len(rows)
        self.batch_size = batch_size
        self.normalize = Normalize(spec, device)
        self.generator = generator
        self.default_da = default_da or DefaultDA()
        self.padding = spec.crop_padding
        self.at_once = at_once

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        return self.starting_at(0)

    def starting_at(self, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """A pass without its first `step` batches; its random draws are those of the whole pass."""
        first = step * self.batch_size
        if self.generator is None:
            for places in torch.arange(first, self.count, device=self.device).split(
                self.batch_size
            ):
                rows = self._rows(places)
                yield self.normalize(self.images[rows]), self.labels[rows], places
            return
        draws = self._draw_epoch(self.generator)
        for places, top, left, mirror in zip(
            *(draw[first:].split(self.batch_size * self.at_once) for draw in draws)
        ):
            rows = self._rows(places)
            images = crop_and_flip(self.images, rows, top=top, left=left, mirror=mirror)
            made = self.normalize(images), self.labels[rows], places
            yield from zip(*[part.split(self.batch_size) for part in made])

    @property
    def served_labels(self) -> torch.Tensor:
        """(count,) int64: the label at each place."""
        return self.labels if self.rows is None else self.labels[self.rows]

    def _rows(self, places: torch.Tensor) -> torch.Tensor:
        return places if self.rows is None else self.rows[places]

    def _draw_epoch(self, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """One pass's places in order (N,), offsets (N,), (N,) and mirror flags (N,), on the device.

        All are drawn whatever the default DA is, so switching a part off leaves the other draws as
        they are.
        """
        order = torch.randperm(self.count, generator=generator)
        offsets = torch.randint(
            -self.padding, self.padding + 1, (2, self.count), generator=generator
        )
        mirror = torch.rand(self.count, generator=generator) < 0.5
        offsets *= self.default_da.crop
        mirror &= self.default_da.flip
        draws = (order, offsets[0], offsets[1], mirror)
        return tuple(draw.to(self.device, non_blocking=True) for draw in draws)
