"""Cutout: one square hole of the mean colour.

T. DeVries, G. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017,
arXiv 1708.04552. One hole serves the whole batch (unless --mix_draw sample); its side is the data set's.
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, mix_modes
from augment.boxes import box_mask, centred_boxes


class HoleDraw(NamedTuple):
    """Centres of the holes in pixels, each (1,) or (B,)."""

    center_y: torch.Tensor
    center_x: torch.Tensor


@mix_modes.register("cutout")
class Cutout(Augmentation):
    def sample(self, batch_size: int, generator: torch.Generator) -> HoleDraw:
        shape = (self.draws(batch_size),)
        center_y = torch.randint(self.spec.img_size, shape, generator=generator)
        center_x = torch.randint(self.spec.img_size, shape, generator=generator)
        return HoleDraw(center_y, center_x)

    def apply(self, images: torch.Tensor, draw: HoleDraw) -> Augmented:
        height, width = images.shape[2:]
        half = torch.full_like(draw.center_x, self.spec.cutout_size // 2)
        holes = centred_boxes(draw.center_x, draw.center_y, half, half, height=height, width=width)
        hole = box_mask(holes.to(images.device, non_blocking=True), height, width)  # (n, 1, H, W)
        mean_color = images.new_zeros(())  # what 0 is after normalisation
        return Augmented(torch.where(hole, mean_color, images))
