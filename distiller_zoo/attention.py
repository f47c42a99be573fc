"""Attention transfer: student and teacher attend to the same places.

S. Zagoruyko, N. Komodakis, "Paying More Attention to Attention: Improving the Performance of
Convolutional Neural Networks via Attention Transfer", ICLR 2017, arXiv 1612.03928. As in CRD's
comparison (Y. Tian et al., ICLR 2020, arXiv 1910.10699) the squared differences are averaged over
the places, not summed.
"""

import torch
import torch.nn.functional as F

from distiller_zoo.base import Batch, FeatureDistiller, Outputs, total
from distiller_zoo.connectors import paired_maps, same_size
from distiller_zoo.registry import distillers


def attention_map(features: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, HW): the mean of the squares over the channels, scaled to unit length."""
    return F.normalize(features.square().mean(1).flatten(1))


def attention_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the attention maps, over the images and places: 0 or more.

    Maps (B, C, H, W), the channels may differ; the larger map is averaged down to the smaller's
    size.
    """
    student, teacher = same_size(student, teacher)
    return (attention_map(student) - attention_map(teacher)).square().mean()


@distillers.register("attention")
class Attention(FeatureDistiller):
    """Sum of `attention_loss` over the stages after the stem.

    Where one network has more, the last ones.
    """

    default_weight = 1000.0

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        return total(attention_loss(s, t) for s, t in paired_maps(student, teacher))
