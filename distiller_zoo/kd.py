"""Knowledge distillation by soft targets.

G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", NeurIPS 2014 workshop,
arXiv 1503.02531.
"""

import torch
import torch.nn.functional as F

from distiller_zoo.base import LogitDistiller, Setting, Target
from distiller_zoo.registry import distillers


def kd_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    *,
    kd_S: float = 4.0,
    kd_T: float = 4.0,
) -> torch.Tensor:
    """kd_S^2 times the mean over the batch of KL(softmax(teacher / kd_T) || softmax(student / kd_S)).

    Both logits: (B, K). Returns a scalar. The square of the temperature keeps the gradient's size the same at
    every temperature; it is the student's, as published.
    """
    log_student = F.log_softmax(student_logits / kd_S, dim=1)
    log_teacher = F.log_softmax(teacher_logits / kd_T, dim=1)
    return kd_S**2 * F.kl_div(log_student, log_teacher, log_target=True, reduction="batchmean")


@distillers.register("kd")
class KD(LogitDistiller):
    """`kd_loss` with the user's two temperatures."""

    default_weight = 0.9

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.kd_S, self.kd_T = setting.kd_S, setting.kd_T

    def describe(self) -> str:
        return (
            f"T {self.kd_T:g}"
            if self.kd_S == self.kd_T
            else f"kd_S {self.kd_S:g} kd_T {self.kd_T:g}"
        )

    def forward(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        return kd_loss(student_logits, teacher_logits, kd_S=self.kd_S, kd_T=self.kd_T)
