"""Gaussian blur.

As in SimCLR (T. Chen et al., ICML 2020, arXiv 2002.05709): a sigma uniform in 0.1..2 pixels, a
kernel of a tenth of the side (3 pixels at 32, 7 at 64, 23 at 224), half of the time; the authors
leave it out on CIFAR-10. Kernel and border are torchvision's GaussianBlur. One sigma for the batch
(unless draw=sample).
"""

import torch

from augment.base import Augmentation, Augmented, MixSettings, check_ranges, mix_modes
from augment.keys import Value, key
from augment.resampling import blurring, resampled
from dataset.spec import DatasetSpec
from helper.errors import UserError


@mix_modes.register("blur")
class Blur(Augmentation):
    """Gaussian blur with a sigma uniform in sigma_min..sigma_max."""

    paper = "Chen 2020, arXiv 2002.05709"
    p = key(0.5, 0, 1, "how often it happens")
    sigma_min = key(0.1, 0.05, 20, "least standard deviation in pixels")
    sigma_max = key(2.0, 0.05, 20, "greatest standard deviation in pixels")
    size = key(None, 3, 99, "odd side of the kernel in pixels; a tenth of the image's", kind=int)

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        check_ranges(self, "sigma")
        size = self.size or max(3, spec.img_size // 10 // 2 * 2 + 1)
        if size % 2 == 0 or size > spec.img_size:
            raise UserError(
                f"size={size} is even, or more than the {spec.img_size} pixels of a side"
            )
        self.radius = size // 2

    def sample(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        """(n,) sigmas in pixels."""
        uniform = torch.rand(self.draws(batch_size), generator=generator)
        return self.sigma_min + (self.sigma_max - self.sigma_min) * uniform

    def apply(self, images: torch.Tensor, draw: torch.Tensor) -> Augmented:
        sigma = draw.to(images.device, non_blocking=True)
        rows, columns = (blurring(sigma, self.radius, size) for size in images.shape[2:])
        return Augmented(resampled(images, rows=rows, columns=columns))
