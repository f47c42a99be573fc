"""Transformed teacher matching, plain and weighted: KD with a temperature for the teacher alone.

K. Zheng, E.-H. Yang, "Knowledge Distillation Based on Transformed Teacher Matching", ICLR 2024,
arXiv 2402.11148. The teacher's temperature is 1 / gamma.

Constants for pairs: the authors' code and README have those of vgg13/vgg8 alone. All others are
unpublished in code; their paper lists some in appendix A.4.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F

from distiller_zoo.base import LogitDistiller, Published, Setting, at_least_float32, published_for
from distiller_zoo.registry import distillers
from helper.registry import Value, key


def ttm_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    *,
    gamma: float = 0.1,
    weighted: bool = False,
) -> torch.Tensor:
    """Mean over the images of KL(q || p), `weighted` by the power sum U: a scalar, 0 or more.

    p = softmax(student), t = softmax(teacher), U = sum_k t_k^gamma, q = t^gamma / U. U is 1 for a
    one-hot teacher and K^(1 - gamma) for a uniform one. Both logits: (P, K). No square of a
    temperature.
    """
    log_p = F.log_softmax(at_least_float32(student_logits), dim=1)
    log_t = F.log_softmax(at_least_float32(teacher_logits), dim=1)
    log_q = F.log_softmax(gamma * log_t, dim=1)
    loss = F.kl_div(log_p, log_q, log_target=True, reduction="none").sum(1)  # (P,)
    if weighted:
        loss = (gamma * log_t).exp().sum(1) * loss
    return loss.mean()


@distillers.register("ttm")
class TTM(LogitDistiller):
    """`ttm_loss`, every image with weight 1. The defaults are those of vgg13/vgg8."""

    gamma = key(
        0.1, 0.001, 1, "exponent of the teacher's probabilities: its temperature is 1 / gamma"
    )
    default_weight = 45.0
    published: ClassVar[Published] = {"cifar100": {"vgg13/vgg8": {"gamma": 0.1, "weight": 45.0}}}
    loss = staticmethod(ttm_loss)

    def __init__(self, setting: Setting, **given: Value) -> None:
        super().__init__(setting, **given)
        self.is_published = bool(published_for(self.published, setting))

    def describe(self) -> str:
        return (
            "" if self.is_published else "unpublished in code for this pair: set gamma and weight"
        )


def wttm_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, *, gamma: float = 0.2
) -> torch.Tensor:
    """`ttm_loss` weighted."""
    return ttm_loss(student_logits, teacher_logits, gamma=gamma, weighted=True)


@distillers.register("wttm")
class WTTM(TTM):
    """`wttm_loss`: images count more where the teacher is less sure.

    The defaults are the one example that the authors' README prints, `--distill crd+wttm -b 0.8 -a
    4` for vgg13/vgg8.
    """

    gamma = key(
        0.2, 0.001, 1, "exponent of the teacher's probabilities: its temperature is 1 / gamma"
    )
    default_weight = 4.0
    published: ClassVar[Published] = {"cifar100": {"vgg13/vgg8": {"gamma": 0.2, "weight": 4.0}}}
    loss = staticmethod(wttm_loss)
