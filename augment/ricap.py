"""RICAP: four images cropped and patched together.

R. Takahashi et al., "RICAP: Random Image Cropping and Patching Data Augmentation for Deep CNNs",
ACML 2018; longer in IEEE TCSVT 2019, arXiv 1811.09030. The authors' beta is 0.3 (jackryo/ricap).
The boundary is drawn once for the batch (unless draw=sample), the crops with it. The image itself
is the upper left part; the others come from three permutations. Shares are exact areas.
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, mix_modes
from augment.draws import draw_beta, uniform_int
from augment.keys import key
from dataset.batches import crop_and_flip

PARTS = 4


class RicapDraw(NamedTuple):
    """boundary: (2, n) row and column where parts meet. top, left: (4, n) shifts into the images.
    partner: (B, 3).
    """

    boundary: torch.Tensor
    top: torch.Tensor
    left: torch.Tensor
    partner: torch.Tensor


@mix_modes.register("ricap")
class Ricap(Augmentation):
    """Crops of four images patched together; the upper left one is of the image itself."""

    paper = "Takahashi 2018, arXiv 1811.09030"
    mixes = True
    beta = key(0.3, 0.01, 100, "the boundary's row and column ~ Beta(beta, beta)")

    def sample(self, batch_size: int, generator: torch.Generator) -> RicapDraw:
        """A part of h pixels may begin at row 0..side - h of its image.

        It stands at row 0 or side - h.
        """
        count, side = self.draws(batch_size), self.spec.img_size
        share = draw_beta(self.beta, 2 * count, generator).view(2, count)
        boundary = (share * side).round().long()
        shifts = []
        for cut in boundary:  # rows, then columns
            before = uniform_int((side - cut + 1).expand(2, -1), generator)
            after = uniform_int((cut + 1).expand(2, -1), generator) - cut
            shifts.append((before, after))  # each (2, n)
        (above, below), (before, after) = shifts
        top = torch.cat([above, below])  # (4, n)
        left = torch.stack([before[0], after[0], before[1], after[1]])
        others = [torch.randperm(batch_size, generator=generator) for _ in range(PARTS - 1)]
        return RicapDraw(boundary, top, left, torch.stack(others, dim=1))

    def apply(self, images: torch.Tensor, draw: RicapDraw) -> Augmented:
        count, (height, width), device = len(images), images.shape[2:], images.device
        row, column = draw.boundary.double()
        areas = [row * column, row * (width - column), (height - row) * column]
        areas.append((height - row) * (width - column))
        shares = (torch.stack(areas, dim=1) / (height * width)).float().expand(count, -1)
        shares = shares.to(device, non_blocking=True)  # (B, 4)
        partner = draw.partner.to(device, non_blocking=True)
        top, left = (each.to(device, non_blocking=True) for each in (draw.top, draw.left))
        row, column = draw.boundary.to(device, non_blocking=True)[..., None]  # (n, 1) each
        upper = (torch.arange(height, device=device) < row)[:, :, None, None]  # (n, H, 1, 1)
        before = (torch.arange(width, device=device) < column)[:, None, :, None]  # (n, 1, W, 1)
        source = images.permute(0, 2, 3, 1)  # (B, H, W, 3)
        index = [torch.arange(count, device=device), *partner.unbind(1)]
        straight = torch.zeros(1, dtype=torch.bool, device=device)
        parts = [
            crop_and_flip(source, index[part], top=top[part], left=left[part], mirror=straight)
            for part in range(PARTS)
        ]
        above = torch.where(before, parts[0], parts[1])
        below = torch.where(before, parts[2], parts[3])
        patched = torch.where(upper, above, below).permute(0, 3, 1, 2)
        return Augmented(patched, partner, shares[:, 0], shares=shares[:, 1:])
