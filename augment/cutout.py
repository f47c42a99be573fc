"""Cutout: square holes of the mean colour.

T. DeVries, G. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017,
arXiv 1708.04552. The authors' sides: 8 for CIFAR-100, 16 for CIFAR-10, one hole. The same holes
serve the whole batch (unless draw=sample). An odd side is exact here; the authors' code shrinks it
by one pixel.
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, mix_modes
from augment.draws import box_mask
from augment.keys import key


class HoleDraw(NamedTuple):
    """Centres of the holes in pixels, each (n * holes,), where n is 1 or B."""

    center_y: torch.Tensor
    center_x: torch.Tensor


@mix_modes.register("cutout")
class Cutout(Augmentation):
    """Square holes of the mean colour.

    Centres are uniform over the pixels; holes are clipped at the border.
    """

    paper = "DeVries 2017, arXiv 1708.04552"

    size = key(None, 1, 224, "side of a hole in pixels; the data set's published one", kind=int)
    holes = key(1, 1, 64, "how many holes")

    def sample(self, batch_size: int, generator: torch.Generator) -> HoleDraw:
        shape = (self.draws(batch_size) * self.holes,)
        center_y = torch.randint(self.spec.img_size, shape, generator=generator)
        center_x = torch.randint(self.spec.img_size, shape, generator=generator)
        return HoleDraw(center_y, center_x)

    def apply(self, images: torch.Tensor, draw: HoleDraw) -> Augmented:
        height, width = images.shape[2:]
        size = self.size or self.spec.cutout_size
        left, top = draw.center_x - size // 2, draw.center_y - size // 2
        boxes = torch.stack([left, top, left + size, top + size], dim=1)  # clipped by the mask
        hole = box_mask(boxes, height, width, images.device)
        hole = hole.unflatten(0, (-1, self.holes)).any(1)  # (n, 1, H, W)
        mean_color = images.new_zeros(())  # what 0 is after normalisation
        return Augmented(torch.where(hole, mean_color, images))
