"""Multi-level logit distillation: predictions, and their correlations over batch and classes.

Y. Jin, J. Wang, D. Lin, "Multi-level Logit Distillation", CVPR 2023 (no arXiv version).

The authors train on a weak view x and a strong view x'. With the weight a and T0 = 4 their total is

    0.1 (CE(x) + CE(x')) + a [ sum over T in T0, 3, 5, 2, 6 of (m KD(x) + m B(x) + c C(x))
                               + sum over T in 2, 6 of KD(x) + sum over T in T0, 3, 5 of KD(x') ]

B compares the images' correlations, C the classes'. m is the share of the images, c that of the
classes, whose confidence is at or below the median: 1/2, but for odd counts and ties. It is a mask
of the authors, put on what is a mean already. With `--lw_mix [1,0,1]
--t_output_as_target_for_input_mix` the total equals the authors'; without a second view its terms
are left out. The authors' strong view is crop and flip, RandAugment(2, 10), and cutout.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch

from distiller_zoo.base import LogitDistiller, Published, Target, at_least_float32, total
from distiller_zoo.kd import kd_loss
from distiller_zoo.registry import distillers
from helper.registry import key


def image_correlation_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """|S S' - Q Q'|^2 / P, a scalar, 0 or more: how alike the images' predictions are.

    S and Q (P, K) are the softmax of the student's and of the teacher's logits / T, the norm is
    Frobenius'.
    """
    student = (student_logits / temperature).softmax(1)
    teacher = (teacher_logits / temperature).softmax(1)
    return (student @ student.T - teacher @ teacher.T).square().sum() / len(student)  # of (P, P)


def class_correlation_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """|S' S - Q' Q|^2 / K, a scalar, 0 or more: `image_correlation_loss`, but between classes."""
    student = (student_logits / temperature).softmax(1)
    teacher = (teacher_logits / temperature).softmax(1)
    return (student.T @ student - teacher.T @ teacher).square().sum() / student.shape[1]  # (K, K)


def unsure_shares(teacher_logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The shares of images and of classes with a confidence up to the median: two scalars.

    An image's confidence is its largest probability, a class's the sum of its probabilities. Logits
    (P, K).
    """
    probability = teacher_logits.softmax(1)
    of_images, of_classes = probability.amax(1), probability.sum(0)  # (P,), (K,)
    m, c = (
        (confidence <= confidence.median()).to(confidence.dtype).mean()
        for confidence in (of_images, of_classes)
    )
    return m, c


def prediction_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """`kd_loss` with one temperature."""
    return kd_loss(student_logits, teacher_logits, kd_S=temperature, kd_T=temperature)


Compare = Callable[..., torch.Tensor]


def _sum_over(
    temperatures: Sequence[float], compare: Compare, student: torch.Tensor, teacher: torch.Tensor
) -> torch.Tensor:
    return total(compare(student, teacher, temperature=t) for t in temperatures)


def mlkd_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    *,
    temperature: float = 4.0,
    compare: Compare = prediction_loss,
) -> torch.Tensor:
    """The bracket's terms on x: a scalar, 0 or more. Both logits (P, K). `temperature`: T0.

    `compare`: KD.
    """
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    m, c = unsure_shares(teacher)
    levels = (temperature, 3.0, 5.0, 2.0, 6.0)
    return (
        m * _sum_over(levels, compare, student, teacher)
        + m * _sum_over(levels, image_correlation_loss, student, teacher)
        + c * _sum_over(levels, class_correlation_loss, student, teacher)
        + _sum_over((2.0, 6.0), compare, student, teacher)
    )


def mlkd_view_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    *,
    temperature: float = 4.0,
    compare: Compare = prediction_loss,
) -> torch.Tensor:
    """The bracket's terms on x', see `mlkd_loss`."""
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    return _sum_over((temperature, 3.0, 5.0), compare, student, teacher)


STRONG_VIEW = {
    "lw_mix": "[1,0,1]",
    "t_output_as_target_for_input_mix": True,
    "mix_draw": "sample",
    "mix_mode": "randaugment:magnitude=10,num_ops=2+cutout:size=16",
}
"""The authors' strong view, as near as the stages here come to it: their cutout's size is not known
here, 16 is that of FixMatch, from which their RandAugment is."""


@distillers.register("mlkd")
class MLKD(LogitDistiller):
    """`mlkd_loss` on the first view; `mlkd_view_loss` and cross-entropy on the second."""

    T = key(4.0, 0.01, 1000, "the first of the five temperatures")
    default_weight = 0.9
    default_gamma = 0.1
    labels_of_view = True
    recipe: ClassVar[Published] = {
        "cifar100": {
            "": {"learning_rate": 0.025, **STRONG_VIEW},
            "vgg13/MobileNetV2": {"learning_rate": 0.01, "epoch_factor": 2},
            "ResNet50/MobileNetV2": {"learning_rate": 0.01, "epoch_factor": 2},
            "wrn_40_2/ShuffleV1": {"learning_rate": 0.01, "epoch_factor": 2},
            "resnet32x4/ShuffleV1": {"learning_rate": 0.01, "epoch_factor": 4},
            "resnet32x4/ShuffleV2": {"learning_rate": 0.01, "epoch_factor": 4},
        }
    }
    compare = staticmethod(prediction_loss)

    def forward(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        return mlkd_loss(student_logits, teacher_logits, temperature=self.T, compare=self.compare)

    def second_view(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        return mlkd_view_loss(
            student_logits, teacher_logits, temperature=self.T, compare=self.compare
        )
