"""mixup: every image blended with another of the batch.

H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, arXiv 1710.09412. lam ~ Beta(1, 1),
which is the uniform distribution; one lam for the batch (unless --mix_draw sample), partners per image.
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, mix_modes


class MixUpDraw(NamedTuple):
    """lam: (1,) or (B,) float64. partner: (B,); an image may be its own partner."""

    lam: torch.Tensor
    partner: torch.Tensor


@mix_modes.register("mixup")
class MixUp(Augmentation):
    def sample(self, batch_size: int, generator: torch.Generator) -> MixUpDraw:
        lam = torch.rand(self.draws(batch_size), generator=generator, dtype=torch.float64)
        return MixUpDraw(lam, torch.randperm(batch_size, generator=generator))

    def apply(self, images: torch.Tensor, draw: MixUpDraw) -> Augmented:
        partner = draw.partner.to(images.device, non_blocking=True)
        lam = draw.lam.float().expand(len(images)).to(images.device, non_blocking=True)  # (B,)
        weight = lam[:, None, None, None]
        return Augmented(weight * images + (1 - weight) * images[partner], partner, lam)
