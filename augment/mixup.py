"""mixup: every image blended with another of the batch.

H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, arXiv 1710.09412. lam ~
Beta(alpha, alpha): the paper has alpha 1 on CIFAR (uniform) and 0.2 on ImageNet. One lam for the
batch (unless draw=sample), partners per image.
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, mix_modes
from augment.draws import draw_beta
from augment.keys import key


class MixUpDraw(NamedTuple):
    """lam: (1,) or (B,) float64. partner: (B,); an image may be its own partner."""

    lam: torch.Tensor
    partner: torch.Tensor


@mix_modes.register("mixup")
class MixUp(Augmentation):
    """An image blended with another: lam * x + (1 - lam) * x[partner]."""

    paper = "Zhang 2018, arXiv 1710.09412"
    mixes = True
    alpha = key(1.0, 0.01, 100, "lam ~ Beta(alpha, alpha)")

    def sample(self, batch_size: int, generator: torch.Generator) -> MixUpDraw:
        lam = draw_beta(self.alpha, self.draws(batch_size), generator)
        return MixUpDraw(lam, torch.randperm(batch_size, generator=generator))

    def apply(self, images: torch.Tensor, draw: MixUpDraw) -> Augmented:
        partner = draw.partner.to(images.device, non_blocking=True)
        lam = draw.lam.float().expand(len(images)).to(images.device, non_blocking=True)  # (B,)
        weight = lam[:, None, None, None]
        return Augmented(weight * images + (1 - weight) * images[partner], partner, lam)
