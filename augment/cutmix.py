"""CutMix: a box of another image of the batch pasted in.

S. Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
Features", ICCV 2019, arXiv 1905.04899. lam ~ Beta(alpha, alpha), published alpha 1 (uniform); one
box for the batch (unless draw=sample), partners per image and never the image itself.
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, MixSettings, mix_modes
from augment.draws import (
    box_mask,
    derangement,
    draw_beta,
    draw_box,
    kept_share,
    scale_lam,
)
from augment.keys import Value, key
from dataset.spec import DatasetSpec


class CutMixDraw(NamedTuple):
    """boxes: (1, 4) or (B, 4), see draws.py. partner: (B,)."""

    boxes: torch.Tensor
    partner: torch.Tensor


@mix_modes.register("cutmix")
class CutMix(Augmentation):
    """A box of another image.

    lam in the result is the exact share that was kept, after the box was clipped.
    """

    paper = "Yun 2019, arXiv 1905.04899"
    mixes = True
    alpha = key(1.0, 0.01, 100, "lam ~ Beta(alpha, alpha)")
    box = key("rand_bbox", choices=draw_box, help="how the box is drawn", flag="bbox")

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        self.start_epoch(1)

    def start_epoch(self, epoch: int) -> None:
        self.floor, self.ceiling = self.settings.floor(epoch), self.settings.ceiling(epoch)

    def sample(self, batch_size: int, generator: torch.Generator) -> CutMixDraw:
        lam = draw_beta(self.alpha, self.draws(batch_size), generator)
        lam = scale_lam(lam, self.floor, self.ceiling)
        side = self.spec.img_size
        boxes = draw_box[self.box](lam, side, side, generator)
        return CutMixDraw(boxes, derangement(batch_size, generator))

    def apply(self, images: torch.Tensor, draw: CutMixDraw) -> Augmented:
        height, width = images.shape[2:]
        device = images.device
        partner = draw.partner.to(device, non_blocking=True)
        lam = (
            kept_share(draw.boxes, height, width)
            .float()
            .expand(len(images))
            .to(device, non_blocking=True)
        )  # (B,)
        inside = box_mask(draw.boxes, height, width, device)  # (n, 1, H, W)
        return Augmented(torch.where(inside, images[partner], images), partner, lam)
