"""Colour jitter: random brightness, contrast, saturation and hue, in a random order.

Defaults are MoCo v2's (X. Chen et al., 2020, arXiv 2003.04297; facebookresearch/moco, main_moco.py
--aug-plus): 0.4, 0.4, 0.4, 0.1, eight times of ten; SimCLR (arXiv 2002.05709) has 0.8, 0.8, 0.8,
0.2. Factors are uniform in 1 - key..1 + key, the hue's shift in -key..key of a turn, as in
torchvision's ColorJitter; nothing is rounded to bytes between. One set of factors for the batch
(unless draw=sample); the order of the four changes is always one for the batch.
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, mix_modes
from augment.colour import LUMA
from augment.keys import key
from dataset.batches import normalize_for


class JitterDraw(NamedTuple):
    """order: a permutation of 0..3: brightness, contrast, saturation, hue.

    factors: (4, n), of the first three and the hue's shift in turns; n is 1 or B.
    """

    order: list[int]
    factors: torch.Tensor


@mix_modes.register("jitter")
class Jitter(Augmentation):
    """Brightness, contrast, saturation and hue changed. A key of 0 leaves one out."""

    paper = "Chen 2020, arXiv 2003.04297"
    p = key(0.8, 0, 1, "how often it happens")
    brightness = key(0.4, 0, 1, "how far the factor is from 1")
    contrast = key(0.4, 0, 1, "how far the factor is from 1")
    saturation = key(0.4, 0, 1, "how far the factor is from 1")
    hue = key(0.1, 0, 0.5, "greatest shift, in turns of the colour circle")

    def sample(self, batch_size: int, generator: torch.Generator) -> JitterDraw:
        order = torch.randperm(4, generator=generator).tolist()
        uniform = 2 * torch.rand(4, self.draws(batch_size), generator=generator) - 1
        most = torch.tensor([self.brightness, self.contrast, self.saturation, self.hue])
        factors = torch.tensor([1.0, 1.0, 1.0, 0.0])[:, None] + most[:, None] * uniform
        return JitterDraw(order, factors)

    def apply(self, images: torch.Tensor, draw: JitterDraw) -> Augmented:
        normalize = normalize_for(self.spec, images.device)
        mean, std = normalize.mean[:, None, None], normalize.std[:, None, None]
        pixels = (images * std + mean).clamp(0, 1)
        factors = draw.factors.to(images.device, non_blocking=True)[:, :, None, None, None]
        most = (self.brightness, self.contrast, self.saturation, self.hue)
        for place in draw.order:
            if most[place]:
                pixels = CHANGES[place](pixels, factors[place])
        return Augmented((pixels - mean) / std)


def luma(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, 1, H, W)."""
    red, green, blue = pixels.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def blend(pixels: torch.Tensor, other: torch.Tensor | float, factor: torch.Tensor) -> torch.Tensor:
    """factor * pixels + (1 - factor) * other, in 0..1."""
    return (factor * pixels + (1 - factor) * other).clamp(0, 1)


def turn_hue(pixels: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Shift the hue in HSV; saturation and value stay. pixels: (B, 3, H, W) in 0..1."""
    red, green, blue = pixels.unbind(1)  # each (B, H, W)
    value, low = pixels.amax(1), pixels.amin(1)
    chroma = value - low
    divisor = torch.where(chroma == 0, 1.0, chroma)
    of_red = ((green - blue) / divisor) % 6
    of_green, of_blue = (blue - red) / divisor + 2, (red - green) / divisor + 4
    sixth = torch.where(value == red, of_red, torch.where(value == green, of_green, of_blue))
    sixth = sixth + 6 * shift[:, 0]
    turned = []
    for start in (5, 3, 1):  # red, green, blue: where a channel begins to fall and rise
        place = (start + sixth) % 6
        turned.append(value - chroma * torch.minimum(place, 4 - place).clamp(0, 1))
    return torch.stack(turned, dim=1).contiguous(memory_format=torch.channels_last)


CHANGES = (
    lambda pixels, factor: blend(pixels, 0.0, factor),
    lambda pixels, factor: blend(pixels, luma(pixels).mean(dim=(1, 2, 3), keepdim=True), factor),
    lambda pixels, factor: blend(pixels, luma(pixels), factor),
    turn_hue,
)
"""Brightness, contrast, saturation, hue: (pixels in 0..1, factor (n, 1, 1, 1)) -> pixels."""
