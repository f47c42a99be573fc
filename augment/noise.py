"""Gaussian noise on every pixel.

sigma is in units of the normalised image, where a channel of the data set has a standard deviation
of 1: sigma 1 is noise as strong as the picture (about 68 grey levels on CIFAR-100). Values are not
clipped. Each image has noise of its own, whatever draw= says. It is drawn on the CPU, so that a GPU
sees the same.
"""

import torch

from augment.base import Augmentation, Augmented, mix_modes
from augment.keys import key


@mix_modes.register("noise")
class Noise(Augmentation):
    """Gaussian noise: x + sigma * n, n ~ N(0, 1) for each value."""

    sigma = key(0.25, 0, 10, "standard deviation, in units of the normalised image")

    def sample(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        side = self.spec.img_size
        return torch.randn(batch_size, side, side, 3, generator=generator)

    def apply(self, images: torch.Tensor, draw: torch.Tensor) -> Augmented:
        noise = draw.to(images.device, non_blocking=True).permute(0, 3, 1, 2)  # (B, 3, H, W)
        return Augmented(torch.add(images, noise, alpha=self.sigma))
