"""Neuron selectivity transfer: the channels' patterns over space are distributed alike.

Z. Huang, N. Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017,
arXiv 1707.01219: maximum mean discrepancy with the polynomial kernel of degree 2.
"""

import torch
import torch.nn.functional as F

from distiller_zoo.base import Batch, FeatureDistiller, Outputs, total
from distiller_zoo.connectors import paired_maps, same_size
from distiller_zoo.registry import distillers


def nst_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """k(t, t) + k(s, s) - 2 k(s, t).

    A scalar, 0 or more. k(a, b) is the mean over images and pairs of channels of <a_i, b_j>^2.

    Maps (B, C, H, W), the channels may differ; the larger map is averaged down to the smaller's
    size, then each channel scaled to unit length over space. The largest tensor is (B, C, C) or (B,
    HW, HW), what is smaller.
    """
    s, t = (F.normalize(m.flatten(2), dim=2) for m in same_size(student, teacher))  # (B, C, HW)
    return _kernel(t, t) + _kernel(s, s) - 2 * _kernel(s, t)


def _kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean of <a_i, b_j>^2: (B, C_a, HW), (B, C_b, HW) -> scalar.

    |A B'|^2 = <A'A, B'B> needs less where HW is small.
    """
    (batch, c_a, places), c_b = a.shape, b.shape[1]
    if places**2 >= c_a * c_b:
        return (a @ b.mT).square().mean()
    return ((a.mT @ a) * (b.mT @ b)).sum() / (batch * c_a * c_b)


@distillers.register("nst")
class NST(FeatureDistiller):
    """Sum of `nst_loss` over the last stages that both networks have after the stem."""

    default_weight = 50.0

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        return total(nst_loss(s, t) for s, t in paired_maps(student, teacher))
