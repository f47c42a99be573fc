"""Similarity-preserving distillation: images alike to the teacher become alike to the student.

F. Tung, G. Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, arXiv 1907.09682.
"""

import torch
import torch.nn.functional as F

from distiller_zoo.base import Batch, FeatureDistiller, Outputs
from distiller_zoo.connectors import full_precision
from distiller_zoo.registry import distillers


def similarity_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Sum of (G_t - G_s)^2 / B^2, G (B, B) the products of features, each row of unit length.

    A scalar, 0 or more. Features (B, ...), of which only the batch must be the same.
    """
    return (_gram(teacher) - _gram(student)).square().mean()


def _gram(features: torch.Tensor) -> torch.Tensor:
    flat = features.flatten(1)  # (B, D)
    return F.normalize(flat @ flat.T)  # (B, B)


@distillers.register("similarity")
class Similarity(FeatureDistiller):
    """`similarity_loss` of the last maps; any two networks pair."""

    default_weight = 3000.0

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        return similarity_loss(full_precision(student)[-2], full_precision(teacher)[-2])
