"""Distillation by SVD: how the channels' main direction turns from stage to stage.

S. H. Lee, D. H. Kim, B. C. Song, "Self-supervised Knowledge Distillation Using Singular Value
Decomposition", ECCV 2018, arXiv 1807.06819, in the form of CRD's comparison (Y. Tian et al., ICLR
2020, arXiv 1910.10699).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch

from distiller_zoo.base import Batch, FeatureDistiller, Outputs, Setting, total
from distiller_zoo.connectors import paired_maps, paired_shapes, require_equal_channels
from distiller_zoo.registry import distillers
from helper.errors import UserError
from helper.registry import Value, key


def right_vectors(features: torch.Tensor, count: int) -> torch.Tensor:
    """First right singular vectors of each (HW, C) matrix: map (B, C, H, W) -> (B, count, C).

    Unit vectors, that of the largest singular value first. Their sign is arbitrary; here it is such
    that the entries sum to no less than 0. Each has the gradient dv_k = sum over j of v_j v_j' dG
    v_k / (l_k - l_j), G = M'M with eigenvalues l. Unlike that of a whole decomposition it stays
    finite where other singular values coincide (dead channels); a v_j whose l_j all but coincides
    with l_k is left out.
    """
    matrix = features.flatten(2).mT  # M: (B, HW, C)
    eigenvalues, all_vectors = _decomposed(matrix.detach())
    vectors = all_vectors[:, :count]  # (B, k, C)
    image = vectors @ matrix.mT @ matrix  # G v_k: (B, k, C)
    change = image - image.detach()  # 0, with the gradient of dG v_k
    inside = change @ all_vectors.mT  # its parts along v_j: (B, k, R)
    outside = change - inside @ all_vectors  # and in the null space of M, where l_j = 0
    gaps = eigenvalues[:, :count, None] - eigenvalues[:, None]  # (B, k, R)
    inside = (inside * _inverse(gaps, eigenvalues)) @ all_vectors
    outside = outside * _inverse(eigenvalues[:, :count, None], eigenvalues)
    vectors = vectors + inside + outside
    return torch.where(vectors.sum(2, keepdim=True) < 0, -vectors, vectors)


def _decomposed(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """M (B, HW, C) -> squared singular values (B, R), the largest first, and right vectors (B, R,
    C), R = min(HW, C).
    """
    places, channels = matrix.shape[1:]
    if channels <= places:  # the eigenvectors of M'M take a half to a seventh of the time on a CPU
        eigenvalues, vectors = torch.linalg.eigh(matrix.mT @ matrix)  # (B, C) ascending, (B, C, C)
        return eigenvalues.flip(1).clamp(min=0), vectors.mT.flip(1)
    _, values, vectors = torch.linalg.svd(matrix, full_matrices=False)
    return values.square(), vectors


def _inverse(x: torch.Tensor, eigenvalues: torch.Tensor) -> torch.Tensor:
    """1 / x, x (B, k, ...); 0 where x is too small beside the largest eigenvalue."""
    limits = torch.finfo(x.dtype)
    small = x.abs() < limits.eps**0.5 * eigenvalues[:, :1, None] + limits.tiny
    return torch.where(small, 0.0, 1 / torch.where(small, 1.0, x))


def kdsvd_loss(student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum of (R_s - R_t)^2 over stages, images and entries, / B; R = exp(-(v_i - v_(i-1))^2 / 8).

    Of each stage the teacher's vectors (B, k, C) and more of the student's, as candidates (B, k',
    C). Each of the teacher's meets the candidate of the largest cosine, turned to its side. R pairs
    the entries of one stage's vector with those of the previous stage's: (B, k, C_i, C_(i-1)).
    """
    student = [_aligned(s, t) for s, t in zip(student, teacher)]
    return total((s - t).square().sum() / len(s) for s, t in zip(_flows(student), _flows(teacher)))


def _aligned(candidates: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    cosines = targets @ candidates.mT  # (B, k, k')
    best = cosines.abs().argmax(2, keepdim=True)  # (B, k, 1)
    chosen = candidates.gather(1, best.expand(-1, -1, candidates.shape[2]))  # (B, k, C)
    return chosen * cosines.gather(2, best).sign().detach()


def _flows(vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    differences = (now[..., None] - before[..., None, :] for before, now in pairwise(vectors))
    return [torch.exp(-difference.square() / 8) for difference in differences]


@distillers.register("kdsvd")
class KDSVD(FeatureDistiller):
    """`kdsvd_loss` of the first vector of each stage after the stem.

    The student's is one of its first four.

    The original leaves the sign of the teacher's vectors, on which the loss depends, to the SVD;
    here it is that of `right_vectors`. Where one network has more stages, the last ones count.
    UserError if the channels differ.
    """

    k = key(1, 1, 64, "vectors of the teacher; the student's come out of its first k + 3")
    default_weight = 1.0

    def __init__(self, setting: Setting, **given: Value) -> None:
        super().__init__(setting, **given)
        pairs = paired_shapes(setting)
        if len(pairs) < 2:
            raise UserError(
                "--distill kdsvd: needs networks of at least two stages; choose another method"
            )
        require_equal_channels("kdsvd", pairs)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        maps_s, maps_t = zip(*paired_maps(student, teacher))
        vectors_s = [right_vectors(m, self.k + 3) for m in maps_s]
        vectors_t = [right_vectors(m, self.k) for m in maps_t]
        return kdsvd_loss(vectors_s, vectors_t)
