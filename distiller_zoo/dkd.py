"""Decoupled knowledge distillation.

B. Zhao, Q. Cui, R. Song, Y. Qiu, J. Liang, "Decoupled Knowledge Distillation", CVPR 2022, arXiv 2203.08679.

KD is TCKD + (1 - p) NCKD, with p the teacher's probability of the label: what a confident teacher knows of
the other classes hardly counts. DKD gives the two terms weights of their own.
"""

import torch
import torch.nn.functional as F

from distiller_zoo.base import LogitDistiller, Setting, Target
from distiller_zoo.precision import at_least_float32
from distiller_zoo.registry import distillers

published_beta = {
    "wrn_40_2/wrn_16_2": 6.0,
    "wrn_40_2/wrn_40_1": 6.0,
    "wrn_40_2/ShuffleV1": 8.0,
    "resnet56/resnet20": 2.0,
    "resnet110/resnet32": 2.0,
    "resnet32x4/resnet8x4": 8.0,
    "resnet32x4/ShuffleV1": 8.0,
    "resnet32x4/ShuffleV2": 8.0,
    "vgg13/vgg8": 6.0,
    "vgg13/MobileNetV2": 6.0,
    "ResNet50/MobileNetV2": 8.0,
}
"""teacher/student on CIFAR-100: the beta of the authors' configurations."""


def other_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The logits (P, K) without those of the labels (P,): (P, K - 1), in the order of the classes."""
    others = torch.arange(logits.shape[1] - 1, device=logits.device)  # (K - 1,)
    return logits.gather(
        1, others + (others >= labels[:, None])
    )  # the label itself is stepped over


def dkd_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> torch.Tensor:
    """T^2 (alpha TCKD + beta NCKD) of each image: (P,), not reduced, 0 or more.

    TCKD is the KL divergence, teacher to student, of (p_label, 1 - p_label); NCKD that of the distributions
    over the other classes, which sum to 1. p = softmax(logits / T). Both logits: (P, K), labels: (P,) int64.
    """

    def decouple(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities: label and not label (P, 2), within the other classes (P, K - 1)."""
        log_p = F.log_softmax(at_least_float32(logits) / temperature, dim=1)
        others = other_logits(log_p, labels)
        label_or_not = torch.cat(
            [log_p.gather(1, labels[:, None]), others.logsumexp(1, keepdim=True)], dim=1
        )
        return label_or_not, F.log_softmax(others, dim=1)

    tckd, nckd = (
        F.kl_div(student, teacher, log_target=True, reduction="none").sum(1)  # (P,)
        for student, teacher in zip(decouple(student_logits), decouple(teacher_logits), strict=True)
    )
    return temperature**2 * (alpha * tckd + beta * nckd)


@distillers.register("dkd")
class DKD(LogitDistiller):
    """`dkd_loss`, its weight ramping up linearly over the first epochs."""

    default_weight = 1.0

    def __init__(
        self,
        setting: Setting,
        *,
        dkd_alpha: float = 1.0,
        dkd_beta: float | None = None,
        temperature: float = 4.0,
        warmup: int = 20,
    ) -> None:
        """`dkd_beta` None: what was published for the pair, else 8. `warmup`: epochs."""
        super().__init__(setting)
        self.alpha, self.temperature, self.warmup = dkd_alpha, temperature, warmup
        self.beta = published_beta.get(setting.pair, 8.0) if dkd_beta is None else dkd_beta
        self.ramp = 1.0

    def start_epoch(self, epoch: int) -> None:
        self.ramp = min(epoch / max(self.warmup, 1), 1.0)

    def describe(self) -> str:
        terms = f"dkd alpha {self.alpha:g} beta {self.beta:g} T {self.temperature:g}"
        return f"{terms}, weight ramps up over {self.warmup} epochs"

    def forward(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        weights = {"alpha": self.alpha, "beta": self.beta, "temperature": self.temperature}
        return self.ramp * target.average(
            lambda labels: dkd_loss(student_logits, teacher_logits, labels, **weights)
        )
