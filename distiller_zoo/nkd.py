"""Normalised knowledge distillation.

Z. Yang, A. Zeng, Z. Li, T. Zhang, C. Yuan, Y. Li, "From Knowledge Distillation to Self-Knowledge
Distillation: A Unified Approach with Normalized Loss and Customized Soft Labels", ICCV 2023,
arXiv 2303.13005.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F

from distiller_zoo.base import LogitDistiller, Published, at_least_float32
from distiller_zoo.dkd import other_logits
from distiller_zoo.registry import distillers
from helper.registry import key


def nkd_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    gamma: float = 3.5,
    temperature: float = 3.0,
) -> torch.Tensor:
    """-t log s - gamma T^2 sum_k q_k log p_k of each image: (P,), not reduced, 0 or more.

    s and t are the student's and the teacher's probabilities of the label at temperature 1, p and q
    their distributions over the other classes at temperature T, which sum to 1. Both are
    cross-entropies: a perfect student's loss is the teacher's entropy, not 0. Both logits: (P, K),
    labels: (P,) int64.
    """
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    label = labels[:, None]
    of_label = (
        -(teacher.softmax(1) * F.log_softmax(student, dim=1)).gather(1, label).squeeze(1)
    )  # (P,)
    log_p = F.log_softmax(other_logits(student, labels) / temperature, dim=1)  # (P, K - 1)
    q = (other_logits(teacher, labels) / temperature).softmax(1)
    return of_label - gamma * temperature**2 * (q * log_p).sum(1)


@distillers.register("nkd")
class NKD(LogitDistiller):
    """`nkd_loss`, with the authors' constants for CIFAR-100 and for ImageNet.

    Deviation: of a mixed image the authors take the label with the larger share; here both labels
    count by their shares.
    """

    gamma = key(3.5, 0, 1e6, "weight of the other classes")
    T = key(3.0, 0.01, 1000, "temperature of the other classes")
    published: ClassVar[Published] = {"imagenet": {"": {"gamma": 1.5, "T": 1.0}}}
    needs_labels = True
    loss = staticmethod(nkd_loss)
