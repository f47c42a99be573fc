"""Stages that take whole images of the batch: the mean of several, and another in place of one.

`other` is a control: a strong view that is all signal, of the wrong image.
"""

import torch

from augment.base import Augmentation, Augmented, mix_modes
from augment.draws import derangement
from augment.keys import key


@mix_modes.register("mean")
class Mean(Augmentation):
    """The mean of an image and k - 1 others, which differ wherever the batch has k images.

    mixup of k images with equal weights (H. Zhang et al., arXiv 1710.09412, section 3, tried
    Dirichlet weights).
    """

    mixes = True
    k = key(3, 2, 64, "how many images")

    def sample(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        """(B, k - 1) int64: rows of the others.

        The images stand in a random ring; the next k - 1 are an image's.
        """
        ring = torch.randperm(batch_size, generator=generator)
        others = torch.empty(batch_size, self.k - 1, dtype=torch.long)
        others[ring] = torch.stack([ring.roll(-step) for step in range(1, self.k)], dim=1)
        return others

    def apply(self, images: torch.Tensor, draw: torch.Tensor) -> Augmented:
        partner = draw.to(images.device, non_blocking=True)
        total = images.clone()
        for column in partner.unbind(1):
            total += images[column]
        shares = images.new_full(partner.shape, 1 / self.k)
        return Augmented(total / self.k, partner, shares[:, 0], shares=shares)


@mix_modes.register("other")
class Other(Augmentation):
    """Another image of the batch.

    No image stays its own. lam is 0, so the targets are the other image's.
    """

    mixes = True

    def sample(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        """(B,) int64: rows of the others."""
        return derangement(batch_size, generator)

    def apply(self, images: torch.Tensor, draw: torch.Tensor) -> Augmented:
        partner = draw.to(images.device, non_blocking=True)
        return Augmented(images[partner], partner, images.new_zeros(len(images)))
