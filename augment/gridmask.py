"""GridMask: a grid of square holes of the mean colour.

P. Chen et al., "GridMask Data Augmentation", 2020, arXiv 2001.04086. Defaults are those of the
authors' training of ResNet-50 on ImageNet (dvlab-research/GridMask, imagenet_grid, start_train.sh):
a period of 96 to 224 of 224 pixels, here as shares of the side, a kept share r of 0.6 of each
period, the grid turned by any angle, and a probability of 0.8. They raise it from 0 to that within
240 of 300 epochs; here p= is constant. One grid for the batch (unless draw=sample).
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, MixSettings, check_ranges, mix_modes
from augment.draws import uniform_int
from augment.keys import Value, key
from augment.warp import rotation
from dataset.spec import DatasetSpec


class GridDraw(NamedTuple):
    """In pixels, each (n,) int64: the period, and where a hole begins, from 0 to period - 1.

    degrees: (n,) float64, the grid's turn about the image's centre.
    """

    period: torch.Tensor
    top: torch.Tensor
    left: torch.Tensor
    degrees: torch.Tensor


@mix_modes.register("gridmask")
class GridMask(Augmentation):
    """A grid of holes of (1 - ratio) * period pixels a side, one in each square of the period."""

    paper = "Chen 2020, arXiv 2001.04086"
    p = key(0.8, 0, 1, "how often it happens")
    period_min = key(0.43, 0.05, 1, "least period, a share of the side")
    period_max = key(1.0, 0.05, 1, "greatest period")
    ratio = key(0.6, 0.05, 0.95, "kept share of a period along a side")
    degrees = key(360.0, 0, 360, "greatest turn of the grid")

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        check_ranges(self, "period")

    def sample(self, batch_size: int, generator: torch.Generator) -> GridDraw:
        count, side = self.draws(batch_size), self.spec.img_size
        low, high = (max(2, round(side * each)) for each in (self.period_min, self.period_max))
        period = torch.randint(low, high + 1, (count,), generator=generator)
        top, left = uniform_int(period, generator), uniform_int(period, generator)
        turn = torch.rand(count, generator=generator, dtype=torch.float64)
        return GridDraw(period, top, left, self.degrees * turn)

    def apply(self, images: torch.Tensor, draw: GridDraw) -> Augmented:
        height, width = images.shape[2:]
        theta = rotation(draw.degrees).to(images.device, non_blocking=True)[..., None, None]
        starts = torch.stack(draw[:3]).to(images.device, non_blocking=True)
        period, top, left = starts[..., None, None]  # each (n, 1, 1)
        y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2  # (H, 1)
        x = torch.arange(width, device=images.device) - (width - 1) / 2  # (W,)
        column = (theta[:, 0, 0] * x + theta[:, 0, 1] * y + (width - 1) / 2).round()  # (n, H, W)
        row = (theta[:, 1, 0] * x + theta[:, 1, 1] * y + (height - 1) / 2).round()
        hole = (period * (1 - self.ratio)).round().clamp(min=1)
        mask = ((row - top) % period < hole) & ((column - left) % period < hole)
        return Augmented(torch.where(mask[:, None], images.new_zeros(()), images))
