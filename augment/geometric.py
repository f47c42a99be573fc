"""identity, flip, crop and crop+flip: the default DA once more, as a second view.

Unlike the default DA, one offset and one mirror flag serve the whole batch (unless --mix_draw sample).
"""

from functools import partial
from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, MixSettings, mix_modes
from dataset.batches import crop_and_flip, normalize_for
from dataset.spec import DatasetSpec


class ShiftDraw(NamedTuple):
    """Offsets in pixels and mirror flags, each (1,) or (B,)."""

    top: torch.Tensor
    left: torch.Tensor
    mirror: torch.Tensor


class Geometric(Augmentation):
    """A crop out of a black margin, a mirror image with probability 0.5, both, or neither."""

    def __init__(self, spec: DatasetSpec, settings: MixSettings, *, crop: bool, flip: bool) -> None:
        super().__init__(spec, settings)
        self.crop, self.flip = crop, flip

    def sample(self, batch_size: int, generator: torch.Generator) -> ShiftDraw:
        count, padding = self.draws(batch_size), self.spec.crop_padding
        top, left = torch.zeros(2, count, dtype=torch.long)
        mirror = torch.zeros(count, dtype=torch.bool)
        if self.crop:
            top, left = torch.randint(-padding, padding + 1, (2, count), generator=generator)
        if self.flip:
            mirror = torch.rand(count, generator=generator) < 0.5
        return ShiftDraw(top, left, mirror)

    def apply(self, images: torch.Tensor, draw: ShiftDraw) -> Augmented:
        if not (self.crop or self.flip):
            return Augmented(images)
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


for _name in ("identity", "flip", "crop", "crop+flip"):
    mix_modes.register(_name)(partial(Geometric, crop="crop" in _name, flip="flip" in _name))
