"""Pixels moved: identity, flip, crop and crop+flip (the default DA once more), translate, rotate.

Unlike the default DA, one offset and one mirror flag serve the whole batch (unless draw=sample).
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, mix_modes
from augment.keys import key
from augment.warp import rotation, warp
from dataset.batches import crop_and_flip, normalize_for


class ShiftDraw(NamedTuple):
    """Offsets in pixels and mirror flags, each (1,) or (B,)."""

    top: torch.Tensor
    left: torch.Tensor
    mirror: torch.Tensor


@mix_modes.register("identity")
class Identity(Augmentation):
    """The batch itself."""

    def sample(self, batch_size: int, generator: torch.Generator) -> None:
        return None

    def apply(self, images: torch.Tensor, draw: None) -> Augmented:
        return Augmented(images)


class Shift(Augmentation):
    """Pixels moved by a draw; `sample` is the subclass's."""

    def apply(self, images: torch.Tensor, draw: ShiftDraw) -> Augmented:
        device = images.device
        moved = crop_and_flip(
            images.permute(0, 2, 3, 1),  # (B, H, W, 3)
            torch.arange(len(images), device=device),
            top=draw.top.to(device, non_blocking=True),
            left=draw.left.to(device, non_blocking=True),
            mirror=draw.mirror.to(device, non_blocking=True),
            fill=normalize_for(self.spec, device).black,
        )
        return Augmented(moved.permute(0, 3, 1, 2))


@mix_modes.register("flip")
class Flip(Shift):
    """The mirror image."""

    p = key(0.5, 0, 1, "how often it happens")
    draws_its_p = True

    def sample(self, batch_size: int, generator: torch.Generator) -> ShiftDraw:
        count = self.draws(batch_size)
        top, left = torch.zeros(2, count, dtype=torch.long)
        return ShiftDraw(top, left, torch.rand(count, generator=generator) < self.p)


@mix_modes.register("crop")
class Crop(Shift):
    """A crop of the same size out of a black margin."""

    padding = key(
        None, 0, 112, "pixels of the margin; the data set's: an eighth of the side", kind=int
    )

    def sample(self, batch_size: int, generator: torch.Generator) -> ShiftDraw:
        count = self.draws(batch_size)
        padding = self.spec.crop_padding if self.padding is None else self.padding
        top, left = torch.randint(-padding, padding + 1, (2, count), generator=generator)
        return ShiftDraw(top, left, torch.zeros(count, dtype=torch.bool))


@mix_modes.register("crop+flip")
class CropFlip(Crop):
    """Both in one pass: the same draws and pixels as the chain of the two."""

    def sample(self, batch_size: int, generator: torch.Generator) -> ShiftDraw:
        shift = super().sample(batch_size, generator)
        mirror = torch.rand(self.draws(batch_size), generator=generator) < 0.5
        return shift._replace(mirror=mirror)


@mix_modes.register("translate")
class Translate(Shift):
    """A shift by whole pixels, uniform up to a share of the side each way; black comes in.

    AutoAugment's strongest is 0.45 (arXiv 1805.09501); the default is twice the default DA's crop.
    """

    share = key(0.25, 0, 1, "greatest shift, a share of the side")

    def sample(self, batch_size: int, generator: torch.Generator) -> ShiftDraw:
        count, most = self.draws(batch_size), round(self.share * self.spec.img_size)
        top, left = torch.randint(-most, most + 1, (2, count), generator=generator)
        return ShiftDraw(top, left, torch.zeros(count, dtype=torch.bool))


@mix_modes.register("rotate")
class Rotate(Augmentation):
    """A turn by an angle uniform in -degrees..degrees, bilinear; black comes in.

    AutoAugment's strongest is 30.
    """

    degrees = key(30.0, 0, 180, "greatest angle")

    def sample(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        """(n,) angles in degrees, anticlockwise."""
        uniform = torch.rand(self.draws(batch_size), generator=generator, dtype=torch.float64)
        return self.degrees * (2 * uniform - 1)

    def apply(self, images: torch.Tensor, draw: torch.Tensor) -> Augmented:
        black = normalize_for(self.spec, images.device).black[:, None, None]
        theta = rotation(draw).to(images.device, non_blocking=True)
        return Augmented(warp(images - black, theta, "bilinear") + black)
