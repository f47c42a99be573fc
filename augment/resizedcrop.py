"""A random part of the image, resized to the whole: Inception's crop.

C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, arXiv 1409.4842: an area of 8 to 100 %, an aspect ratio
of 3/4 to 4/3. Drawn as torchvision's RandomResizedCrop, which also gives the defaults: ten attempts, then the largest
centred crop that fits the ratios. Bilinear, positions between pixels as in interpolate(align_corners=False).
"""

import math

import torch

from augment.base import Augmentation, Augmented, MixSettings, mix_modes
from augment.boxes import Boxes, uniform_int
from augment.keys import Value, key
from dataset.spec import DatasetSpec
from helper.errors import UserError

ATTEMPTS = 10


@mix_modes.register("resizedcrop")
class ResizedCrop(Augmentation):
    """One crop for the batch (unless draw=sample)."""

    scale_min = key(0.08, 0.0001, 1, "least share of the area")
    scale_max = key(1.0, 0.0001, 1, "greatest share of the area")
    ratio_min = key(0.75, 0.1, 10, "least width / height")
    ratio_max = key(4 / 3, 0.1, 10, "greatest width / height")

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        for name in ("scale", "ratio"):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low > high:
                raise UserError(f"{name}_min={low:g} is above {name}_max={high:g}")

    def sample(self, batch_size: int, generator: torch.Generator) -> Boxes:
        """(n, 4): see boxes.py."""
        count, side = self.draws(batch_size), self.spec.img_size
        uniform = torch.rand(2, count, ATTEMPTS, generator=generator, dtype=torch.float64)
        area = side**2 * (self.scale_min + (self.scale_max - self.scale_min) * uniform[0])
        low, high = math.log(self.ratio_min), math.log(self.ratio_max)
        ratio = (low + (high - low) * uniform[1]).exp()
        width, height = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (width >= 1) & (height >= 1) & (width <= side) & (height <= side)  # (n, ATTEMPTS)
        first = fits.int().argmax(dim=1, keepdim=True)
        width, height = (each.gather(1, first)[:, 0].long() for each in (width, height))
        left = uniform_int((side - width).clamp(min=0) + 1, generator)
        top = uniform_int((side - height).clamp(min=0) + 1, generator)
        drawn = torch.stack([left, top, left + width, top + height], dim=1)
        return torch.where(fits.any(dim=1, keepdim=True), drawn, self._centred(side))

    def _centred(self, side: int) -> torch.Tensor:
        """The largest centred box whose ratio is allowed: (4,)."""
        width = round(side * min(1, self.ratio_max))
        height = round(side / max(1, self.ratio_min))
        left, top = (side - width) // 2, (side - height) // 2
        return torch.tensor([left, top, left + width, top + height])

    def apply(self, images: torch.Tensor, draw: Boxes) -> Augmented:
        height, width = images.shape[2:]
        left, top, right, bottom = draw.to(images.device, non_blocking=True).float().T[..., None]
        rows = resampling(top, bottom, height)  # (n, H, H)
        columns = resampling(left, right, width)  # (n, W, W)
        resized = rows[:, None] @ images @ columns.mT[:, None]  # (B, 3, H, W)
        return Augmented(resized.contiguous(memory_format=torch.channels_last))


def resampling(start: torch.Tensor, stop: torch.Tensor, size: int) -> torch.Tensor:
    """Bilinear weights that stretch start..stop to `size` pixels: (n, 1) each -> (n, size, size).

    Row i of the result has the weights of the old pixels in the new pixel i.
    """
    places = torch.arange(size, device=start.device)
    position = start + (places + 0.5) * (stop - start) / size - 0.5  # (n, size), of the new pixels
    position = position.clamp(start, stop - 1)  # the border is repeated
    return (1 - (position[:, :, None] - places).abs()).clamp(min=0)
