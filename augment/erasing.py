"""Random Erasing: one rectangle of the mean colour or of noise.

Z. Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, arXiv 1708.04896. The paper's
setting: probability 0.5, an area of 2 to 40 %, an aspect ratio of 0.3 to 1 / 0.3, random values.
Defaults are those of torchvision's transforms.RandomErasing (0.5, area of 2 to 33 %, ratio of 0.3
to 3.3, filled with 0, the mean colour). One rectangle for the batch (unless draw=sample).
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, MixSettings, check_ranges, mix_modes
from augment.draws import area_boxes, box_mask
from augment.keys import Value, key
from dataset.spec import DatasetSpec


class EraseDraw(NamedTuple):
    """boxes: (n, 4). fill: what comes into them, (B, H, W, 3), or None for the mean colour."""

    boxes: torch.Tensor
    fill: torch.Tensor | None


@mix_modes.register("erasing")
class Erasing(Augmentation):
    """A rectangle filled in. Nothing is erased where no rectangle fits the image."""

    paper = "Zhong 2020, arXiv 1708.04896"
    p = key(0.5, 0, 1, "how often it happens")
    scale_min = key(0.02, 0.0001, 1, "least share of the area")
    scale_max = key(0.33, 0.0001, 1, "greatest share of the area")
    ratio_min = key(0.3, 0.1, 10, "least width / height")
    ratio_max = key(3.3, 0.1, 10, "greatest width / height")
    value = key("mean", choices=("mean", "noise"), help="the mean colour, or noise of sigma 1")

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        check_ranges(self, "scale", "ratio")

    def sample(self, batch_size: int, generator: torch.Generator) -> EraseDraw:
        count, side = self.draws(batch_size), self.spec.img_size
        scale, ratio = (self.scale_min, self.scale_max), (self.ratio_min, self.ratio_max)
        boxes, fits = area_boxes(scale, ratio, (count, side, side), generator)
        fill = None
        if self.value == "noise":
            fill = torch.randn(batch_size, side, side, 3, generator=generator)
        return EraseDraw(boxes * fits[:, None], fill)

    def apply(self, images: torch.Tensor, draw: EraseDraw) -> Augmented:
        device, (height, width) = images.device, images.shape[2:]
        hole = box_mask(draw.boxes, height, width, device)
        fill = images.new_zeros(())
        if draw.fill is not None:
            fill = draw.fill.to(device, non_blocking=True).permute(0, 3, 1, 2)  # (B, 3, H, W)
        return Augmented(torch.where(hole, fill, images))
