"""ResizeMix: another image of the batch, made small, pasted in whole.

J. Qin et al., "ResizeMix: Mixing Data with Preserved Object Information and True Labels", 2020,
arXiv 2012.11101: the small image's side is a share uniform in 0.1..0.8 (so too in the
re-implementation Westlake-AI/openmixup), its place uniform. Resized bilinearly with antialiasing.
One box for the batch (unless draw=sample), partners per image and never the image itself. lam is
the exact share that was kept.
"""

import torch

from augment.base import Augmentation, Augmented, MixSettings, check_ranges, mix_modes
from augment.cutmix import CutMixDraw
from augment.draws import box_mask, derangement, kept_share, uniform_int
from augment.keys import Value, key
from augment.resampling import resampled, shrink
from dataset.spec import DatasetSpec


@mix_modes.register("resizemix")
class ResizeMix(Augmentation):
    """Another image, made small, pasted into a square box."""

    paper = "Qin 2020, arXiv 2012.11101"
    mixes = True
    tau_min = key(0.1, 0.01, 1, "least side of the box, a share of the image's")
    tau_max = key(0.8, 0.01, 1, "greatest side of the box")

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        check_ranges(self, "tau")

    def sample(self, batch_size: int, generator: torch.Generator) -> CutMixDraw:
        count, side = self.draws(batch_size), self.spec.img_size
        tau = torch.rand(count, generator=generator, dtype=torch.float64)
        tau = self.tau_min + (self.tau_max - self.tau_min) * tau
        size = (side * tau).long().clamp(min=1)
        left = uniform_int(side - size + 1, generator)
        top = uniform_int(side - size + 1, generator)
        boxes = torch.stack([left, top, left + size, top + size], dim=1)
        return CutMixDraw(boxes, derangement(batch_size, generator))

    def apply(self, images: torch.Tensor, draw: CutMixDraw) -> Augmented:
        height, width = images.shape[2:]
        device = images.device
        partner = draw.partner.to(device, non_blocking=True)
        lam = kept_share(draw.boxes, height, width).float().expand(len(images))
        boxes = draw.boxes.to(device, non_blocking=True)
        left, top, right, bottom = boxes.float().T[..., None]  # each (n, 1)
        rows, columns = shrink(top, bottom, height), shrink(left, right, width)
        small = resampled(images[partner], rows=rows, columns=columns)
        mixed = torch.where(box_mask(draw.boxes, height, width, device), small, images)
        return Augmented(mixed, partner, lam.to(device, non_blocking=True))
