"""Transformed teacher matching, plain and weighted: KD with a temperature for the teacher alone.

K. Zheng, E.-H. Yang, "Knowledge Distillation Based on Transformed Teacher Matching", ICLR 2024,
arXiv 2402.11148. The teacher's temperature is 1 / gamma.
"""

import torch
import torch.nn.functional as F

from distiller_zoo.base import LogitDistiller, Setting, Target
from distiller_zoo.precision import at_least_float32
from distiller_zoo.registry import distillers

published_ttm = {"vgg13/vgg8": (0.1, 45.0)}
"""teacher/student on CIFAR-100: gamma and the loss's weight, from the authors' README.

Their appendix A.4 lists more pairs, and those of WTTM.
"""


def ttm_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    *,
    gamma: float = 0.1,
    weighted: bool = False,
) -> torch.Tensor:
    """Mean over the images of KL(q || p), `weighted` by the power sum U: a scalar, 0 or more.

    p = softmax(student), t = softmax(teacher), U = sum_k t_k^gamma, q = t^gamma / U. U is 1 for a one-hot
    teacher and K^(1 - gamma) for a uniform one. Both logits: (P, K). No square of a temperature.
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
    """`ttm_loss`, every image with weight 1."""

    default_weight = 45.0

    def __init__(self, setting: Setting, *, ttm_gamma: float | None = None) -> None:
        """`ttm_gamma` None: what was published for the pair, else 0.1; so too for the weight, else 45."""
        super().__init__(setting)
        published, self.default_weight = published_ttm.get(setting.pair, (0.1, self.default_weight))
        self.gamma = published if ttm_gamma is None else ttm_gamma

    def describe(self) -> str:
        return f"ttm gamma {self.gamma:g}, the teacher at T {1 / self.gamma:g}"

    def forward(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        return ttm_loss(student_logits, teacher_logits, gamma=self.gamma)


@distillers.register("wttm")
class WTTM(LogitDistiller):
    """`ttm_loss` weighted: images count more where the teacher is less sure.

    The defaults are the one example that the authors' README prints, WTTM added to CRD on vgg13/vgg8.
    """

    default_weight = 4.0

    def __init__(self, setting: Setting, *, ttm_gamma: float = 0.2) -> None:
        super().__init__(setting)
        self.gamma = ttm_gamma

    def describe(self) -> str:
        return f"wttm gamma {self.gamma:g}, the teacher at T {1 / self.gamma:g}"

    def forward(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        return ttm_loss(student_logits, teacher_logits, gamma=self.gamma, weighted=True)
