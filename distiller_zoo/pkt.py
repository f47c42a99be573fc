"""Probabilistic knowledge transfer: who is whose neighbour in feature space.

N. Passalis, A. Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV
2018, arXiv 1803.10837.
"""

import torch

from distiller_zoo.base import Batch, FeatureDistiller, Outputs
from distiller_zoo.connectors import full_precision
from distiller_zoo.registry import distillers

EPS = 1e-7


def pkt_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean of p_t log(p_t / p_s) over B^2 pairs; p: (cosine + 1) / 2, rows normalised.

    A scalar. Vectors (B, D_s) and (B, D_t). As in CRD's comparison, the mean and not the sum, hence
    the large weight.
    """
    p_s, p_t = _neighbour_probabilities(student), _neighbour_probabilities(teacher)
    return (p_t * ((p_t + EPS) / (p_s + EPS)).log()).mean()


def _neighbour_probabilities(features: torch.Tensor) -> torch.Tensor:
    unit = features / (features.norm(dim=1, keepdim=True) + EPS)
    similarity = (unit @ unit.T + 1) / 2  # (B, B), in 0..1
    return similarity / similarity.sum(1, keepdim=True)


@distillers.register("pkt")
class PKT(FeatureDistiller):
    """`pkt_loss` of the pooled vectors; any two networks pair."""

    default_weight = 30000.0

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        return pkt_loss(full_precision(student)[-1], full_precision(teacher)[-1])
