"""Relational knowledge distillation: the distances and angles between the images' vectors.

W. Park, D. Kim, Y. Lu, M. Cho, "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068.
"""

import torch
import torch.nn.functional as F

from distiller_zoo.base import Batch, FeatureDistiller, Outputs
from distiller_zoo.connectors import full_precision
from distiller_zoo.registry import distillers
from helper.registry import key


def rkd_loss(
    student: torch.Tensor, teacher: torch.Tensor, *, w_d: float = 25.0, w_a: float = 50.0
) -> torch.Tensor:
    """w_d times the loss of the distances plus w_a times that of the angles, both smooth L1, mean.

    A scalar, 0 or more. Vectors (B, D_s) and (B, D_t). The mean is over all B^2 pairs, or all B^3
    triples.
    """
    distance = F.smooth_l1_loss(_distances(student), _distances(teacher))
    angle = F.smooth_l1_loss(_angles(student), _angles(teacher))
    return w_d * distance + w_a * angle


def _distances(x: torch.Tensor) -> torch.Tensor:
    """(B, D) -> (B, B): Euclidean, divided by the mean of those that are not 0."""
    # Not by way of products: exact for near images, and its gradient at distance 0 is 0, not NaN.
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / mean.clamp(min=1e-12)


def _angles(x: torch.Tensor) -> torch.Tensor:
    """(B, D) -> (B, B, B): the cosine of the angle at image i between images j and k."""
    edges = F.normalize(x[None] - x[:, None], dim=2)  # (B, B, D), [i, j] from i to j
    return edges @ edges.mT


@distillers.register("rkd")
class RKD(FeatureDistiller):
    """`rkd_loss` of the pooled vectors; any two networks pair."""

    w_d = key(25.0, 0, 1e6, "weight of the distances")
    w_a = key(50.0, 0, 1e6, "weight of the angles")
    default_weight = 1.0

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        vectors = full_precision(student)[-1], full_precision(teacher)[-1]
        return rkd_loss(*vectors, w_d=self.w_d, w_a=self.w_a)
