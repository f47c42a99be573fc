"""Variational information distillation: the student's maps should let one predict the teacher's.

S. Ahn, S. X. Hu, A. Damianou, N. D. Lawrence, Z. Dai, "Variational Information Distillation for
Knowledge Transfer", CVPR 2019, arXiv 1904.05835.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from distiller_zoo.base import Batch, FeatureDistiller, Outputs, Setting, total
from distiller_zoo.connectors import paired_maps, paired_shapes, same_size
from distiller_zoo.registry import distillers
from helper.registry import Value, key

SMALLEST_VARIANCE = 1e-5
FIRST_VARIANCE = 5.0


def vid_loss(mean: torch.Tensor, teacher: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """Mean of ((mean - teacher)^2 / variance + log variance) / 2: -log of a normal density.

    A scalar of either sign; a constant is left out. Maps (B, C, H, W); log_scale (C,), of which
    variance = softplus(log_scale) + 1e-5, one for each channel.
    """
    variance = (F.softplus(log_scale) + SMALLEST_VARIANCE)[:, None, None]  # (C, 1, 1)
    return ((mean - teacher).square() / variance + variance.log()).mean() / 2


class Predictor(nn.Module):
    """The normal distribution of the teacher's map (B, C_t, H, W), given the student's."""

    def __init__(
        self, student_channels: int, teacher_channels: int, variance: float = FIRST_VARIANCE
    ) -> None:
        super().__init__()
        self.regressor = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
        )
        first = math.log(math.expm1(variance - SMALLEST_VARIANCE))
        self.log_scale = nn.Parameter(torch.full((teacher_channels,), first))

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """`vid_loss` of two maps; the larger is averaged down to the smaller's size first."""
        student, teacher = same_size(student, teacher)
        return vid_loss(self.regressor(student), teacher, self.log_scale)


@distillers.register("vid")
class VID(FeatureDistiller):
    """Sum of `vid_loss` over the last stages that both networks have after the stem."""

    default_weight = 1.0

    variance = key(FIRST_VARIANCE, 0.001, 1000, "of each channel at the start")

    def __init__(self, setting: Setting, **given: Value) -> None:
        super().__init__(setting, **given)
        self.predictors = nn.ModuleList(
            Predictor(s[1], t[1], self.variance) for s, t in paired_shapes(setting)
        )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        pairs = paired_maps(student, teacher)
        return total(predictor(s, t) for predictor, (s, t) in zip(self.predictors, pairs))
