"""Weighted soft labels: images whose soft label would only regularise count less.

H. Zhou, L. Song, J. Chen, Y. Zhou, G. Wang, J. Yuan, Q. Zhang, "Rethinking Soft Labels for
Knowledge Distillation: A Bias-Variance Tradeoff Perspective", ICLR 2021, arXiv 2102.00650.

Written from the paper's formula and not compared with the authors' code. The temperature and the
weight of the paper's runs are not settled here: the defaults are those of kd, T 4 and weight 0.9
beside a full cross-entropy.
"""

import torch
import torch.nn.functional as F

from distiller_zoo.base import LogitDistiller, at_least_float32
from distiller_zoo.registry import distillers
from helper.registry import key

EPS = 1e-7


def wsld_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    temperature: float = 4.0,
) -> torch.Tensor:
    """w T^2 sum_k -q_k log p_k of each image: (P,), not reduced, 0 or more.

    p and q are the student's and the teacher's softmax at temperature T, w = 1 - exp(-CE(student) /
    CE(teacher)), of the labels' cross-entropies at temperature 1: near 0 where the student is
    already surer of the label than the teacher. w has no gradient. Both logits: (P, K), labels:
    (P,) int64. A perfect student's loss is the weighted entropy of the teacher, not 0.
    """
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    with torch.no_grad():
        of_student, of_teacher = (
            F.cross_entropy(logits, labels, reduction="none") for logits in (student, teacher)
        )
        weight = 1 - torch.exp(-of_student / (of_teacher + EPS))  # (P,)
    soft_labels = (teacher / temperature).softmax(1)
    loss = -(soft_labels * F.log_softmax(student / temperature, dim=1)).sum(1)
    return temperature**2 * weight * loss


@distillers.register("wsld")
class WSLD(LogitDistiller):
    """`wsld_loss`."""

    T = key(4.0, 0.01, 1000, "temperature")
    default_weight = 0.9
    needs_labels = True
    loss = staticmethod(wsld_loss)
