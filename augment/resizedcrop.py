"""A random part of the image, resized to the whole: Inception's crop.

C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, arXiv 1409.4842: an area of 8 % to
100 %, an aspect ratio of 3/4 to 4/3. Drawn as torchvision's RandomResizedCrop, which also gives the
defaults: ten attempts, then the largest centred crop that fits the ratios. Bilinear, positions
between pixels as in interpolate(align_corners=False).
"""

import torch

from augment.base import Augmentation, Augmented, MixSettings, check_ranges, mix_modes
from augment.draws import Boxes, area_boxes
from augment.keys import Value, key
from augment.resampling import resampled, stretch
from dataset.spec import DatasetSpec


@mix_modes.register("resizedcrop")
class ResizedCrop(Augmentation):
    """A part of the image, resized to the whole: one for the batch (unless draw=sample)."""

    paper = "Szegedy 2015, arXiv 1409.4842"

    scale_min = key(0.08, 0.0001, 1, "least share of the area")
    scale_max = key(1.0, 0.0001, 1, "greatest share of the area")
    ratio_min = key(0.75, 0.1, 10, "least width / height")
    ratio_max = key(4 / 3, 0.1, 10, "greatest width / height")

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        check_ranges(self, "scale", "ratio")

    def sample(self, batch_size: int, generator: torch.Generator) -> Boxes:
        """(n, 4): see draws.py."""
        count, side = self.draws(batch_size), self.spec.img_size
        scale, ratio = (self.scale_min, self.scale_max), (self.ratio_min, self.ratio_max)
        drawn, fits = area_boxes(scale, ratio, (count, side, side), generator)
        return torch.where(fits[:, None], drawn, self._centred(side))

    def _centred(self, side: int) -> torch.Tensor:
        """The largest centred box whose ratio is allowed: (4,)."""
        width = round(side * min(1, self.ratio_max))
        height = round(side / max(1, self.ratio_min))
        left, top = (side - width) // 2, (side - height) // 2
        return torch.tensor([left, top, left + width, top + height])

    def apply(self, images: torch.Tensor, draw: Boxes) -> Augmented:
        height, width = images.shape[2:]
        left, top, right, bottom = draw.to(images.device, non_blocking=True).float().T[..., None]
        return Augmented(
            resampled(
                images, rows=stretch(top, bottom, height), columns=stretch(left, right, width)
            )
        )
