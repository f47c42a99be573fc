"""GridMask: a grid of square holes of the mean colour.

P. Chen et al., "GridMask Data Augmentation", 2020, arXiv 2001.04086. Defaults are the paper's for
ImageNet: a period of 96 to 224 of 224 pixels, here as shares of the side, and a kept share r of 0.6
of each period. The paper also raises its probability during training; here p= is constant. One grid
for the batch (unless draw=sample).
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, MixSettings, check_ranges, mix_modes
from augment.boxes import uniform_int
from augment.keys import Value, key
from dataset.spec import DatasetSpec


class GridDraw(NamedTuple):
    """In pixels, each (n,) int64: the period, and where a hole begins, from 0 to period - 1."""

    period: torch.Tensor
    top: torch.Tensor
    left: torch.Tensor


@mix_modes.register("gridmask")
class GridMask(Augmentation):
    """A grid of holes of (1 - ratio) * period pixels a side, one in each square of the period."""

    paper = "Chen 2020, arXiv 2001.04086"
    period_min = key(0.43, 0.05, 1, "least period, a share of the side")
    period_max = key(1.0, 0.05, 1, "greatest period")
    ratio = key(0.6, 0.05, 0.95, "kept share of a period along a side")

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        check_ranges(self, "period")

    def sample(self, batch_size: int, generator: torch.Generator) -> GridDraw:
        count, side = self.draws(batch_size), self.spec.img_size
        low, high = (max(2, round(side * each)) for each in (self.period_min, self.period_max))
        period = torch.randint(low, high + 1, (count,), generator=generator)
        return GridDraw(period, uniform_int(period, generator), uniform_int(period, generator))

    def apply(self, images: torch.Tensor, draw: GridDraw) -> Augmented:
        period, top, left = torch.stack(draw).to(images.device, non_blocking=True)[..., None]
        hole = (period * (1 - self.ratio)).round().clamp(min=1)  # (n, 1)
        height, width = images.shape[2:]
        rows = (torch.arange(height, device=images.device) - top) % period < hole  # (n, H)
        columns = (torch.arange(width, device=images.device) - left) % period < hole  # (n, W)
        mask = rows[:, None, :, None] & columns[:, None, None, :]  # (n, 1, H, W)
        return Augmented(torch.where(mask, images.new_zeros(()), images))
