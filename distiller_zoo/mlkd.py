"""Multi-level logit distillation: predictions, and their correlations over the batch and over the classes.

Y. Jin, J. Wang, D. Lin, "Multi-level Logit Distillation", CVPR 2023.

Deviations. The paper trains on a weakly and a strongly augmented view: here these are the images and the mix
mode's view, and both get the same loss; the authors' code leaves the two correlations out of the strong view.
Their code also multiplies the weak view's terms by the share of images, or of classes, which the teacher is
less sure of than the median, one half: a mask put on what is a mean already. That factor is left out. The
authors train with a rate of 0.025, for up to 480 epochs.
"""

from collections.abc import Sequence

import torch

from distiller_zoo.base import LogitDistiller, Setting, Target
from distiller_zoo.kd import kd_loss
from distiller_zoo.precision import at_least_float32
from distiller_zoo.registry import distillers


def correlation_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """|S S' - Q Q'|^2 / P + |S' S - Q' Q|^2 / K, a scalar, 0 or more.

    S and Q (P, K) are the softmax of the student's and of the teacher's logits / T, the norm is Frobenius'.
    The first term compares images with each other, (P, P), the second classes, (K, K).
    """
    student = (student_logits / temperature).softmax(1)
    teacher = (teacher_logits / temperature).softmax(1)
    images, classes = student.shape
    of_images = (student @ student.T - teacher @ teacher.T).square().sum() / images
    of_classes = (student.T @ student - teacher.T @ teacher).square().sum() / classes
    return of_images + of_classes


def mlkd_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    *,
    temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
) -> torch.Tensor:
    """Sum over the temperatures of `kd_loss`, with its T^2, and `correlation_loss`: a scalar, 0 or more.

    Both logits: (P, K).
    """
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    return sum(
        kd_loss(student, teacher, kd_S=t, kd_T=t)
        + correlation_loss(student, teacher, temperature=t)
        for t in temperatures
    )


@distillers.register("mlkd")
class MLKD(LogitDistiller):
    """`mlkd_loss`."""

    default_weight = 0.9
    default_gamma = 0.1

    def __init__(
        self,
        setting: Setting,
        *,
        temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
    ) -> None:
        super().__init__(setting)
        self.temperatures = tuple(temperatures)

    def describe(self) -> str:
        return f"mlkd T {' '.join(f'{t:g}' for t in self.temperatures)}"

    def forward(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        return mlkd_loss(student_logits, teacher_logits, temperatures=self.temperatures)
