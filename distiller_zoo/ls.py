"""Logit standardisation: a temperature for each image, so that only the shape of its logits is matched.

S. Sun, W. Ren, J. Li, R. Wang, X. Cao, "Logit Standardization in Knowledge Distillation", CVPR 2024,
arXiv 2403.01427. It goes on top of a method that compares logits: here KD, DKD and MLKD.

The authors' logs name a base temperature for DKD too; the released code hands it to KD alone and leaves DKD's
at 4. Here it is used.
"""

from collections.abc import Sequence

import torch

from distiller_zoo.base import LogitDistiller, Setting, Target
from distiller_zoo.dkd import DKD
from distiller_zoo.kd import kd_loss
from distiller_zoo.mlkd import correlation_loss
from distiller_zoo.precision import at_least_float32
from distiller_zoo.registry import distillers

published_ls = {
    "vgg13/vgg8": (3.0, 9.0),
    "vgg13/MobileNetV2": (3.0, 9.0),
    "wrn_40_2/MobileNetV2": (3.0, 9.0),
    "resnet32x4/wrn_16_2": (3.0, 9.0),
    "resnet32x4/wrn_40_2": (3.0, 9.0),
    "ResNet50/MobileNetV2": (3.0, 1.0),
}
"""teacher/student on CIFAR-100: KD's temperature and weight, from the authors' logs; else 2 and 9."""

published_dkd_ls = {
    "wrn_40_2/wrn_16_2": (2.0, 2.0, 12.0),
    "wrn_40_2/wrn_40_1": (2.0, 2.0, 12.0),
    "wrn_40_2/resnet8x4": (2.0, 2.0, 18.0),
    "wrn_40_2/MobileNetV2": (2.0, 2.0, 15.0),
    "resnet56/resnet20": (2.0, 3.0, 18.0),
    "resnet110/resnet20": (2.0, 2.0, 15.0),
    "resnet110/resnet32": (2.0, 2.0, 15.0),
    "resnet32x4/wrn_16_2": (2.0, 2.0, 9.0),
    "vgg13/vgg8": (2.0, 2.0, 15.0),
    "vgg13/MobileNetV2": (2.0, 3.0, 9.0),
    "ResNet50/MobileNetV2": (2.0, 2.0, 15.0),
}
"""teacher/student on CIFAR-100: DKD's beta, temperature and weight, from their logs; else 8, 2 and 9."""


def standardise(logits: torch.Tensor, *, eps: float = 1e-7) -> torch.Tensor:
    """Each image's logits (P, K) with mean 0 and, by the K - 1 estimate, standard deviation 1."""
    logits = at_least_float32(logits)
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + eps)


def ls_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, *, temperature: float = 2.0
) -> torch.Tensor:
    """`kd_loss` of the standardised logits, with its T^2: a scalar, 0 or more. Both logits: (P, K).

    Scaling (by more than 0) and shifting an image's logits, the student's or the teacher's, changes nothing.
    """
    student, teacher = standardise(student_logits), standardise(teacher_logits)
    return kd_loss(student, teacher, kd_S=temperature, kd_T=temperature)


def mlkd_ls_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    *,
    temperatures: Sequence[float] = (2.0, 2.0, 3.0, 5.0, 6.0),
) -> torch.Tensor:
    """Sum over the temperatures of `ls_loss` and `correlation_loss`: a scalar, 0 or more.

    Both logits: (P, K). As published only MLKD's first level is standardised, and 2 stands in the place of 4.
    """
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    return sum(
        ls_loss(student, teacher, temperature=t) + correlation_loss(student, teacher, temperature=t)
        for t in temperatures
    )


@distillers.register("ls")
class LS(LogitDistiller):
    """`ls_loss`: KD of standardised logits."""

    default_weight = 9.0
    default_gamma = 0.1

    def __init__(self, setting: Setting, *, temperature: float | None = None) -> None:
        """`temperature` None: what was published for the pair, else 2; so too for the weight, else 9."""
        super().__init__(setting)
        published, self.default_weight = published_ls.get(setting.pair, (2.0, self.default_weight))
        self.temperature = published if temperature is None else temperature

    def describe(self) -> str:
        return f"kd of standardised logits, T {self.temperature:g}"

    def forward(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        return ls_loss(student_logits, teacher_logits, temperature=self.temperature)


@distillers.register("dkd_ls")
class DKDLS(DKD):
    """DKD of standardised logits."""

    default_weight = 9.0

    def __init__(
        self,
        setting: Setting,
        *,
        dkd_alpha: float = 1.0,
        dkd_beta: float | None = None,
        temperature: float | None = None,
        warmup: int = 20,
    ) -> None:
        """None: what was published for the pair, else beta 8, temperature 2; so too the weight, else 9."""
        beta, published, weight = published_dkd_ls.get(
            setting.pair, (8.0, 2.0, self.default_weight)
        )
        super().__init__(
            setting,
            dkd_alpha=dkd_alpha,
            dkd_beta=beta if dkd_beta is None else dkd_beta,
            temperature=published if temperature is None else temperature,
            warmup=warmup,
        )
        self.default_weight = weight

    def describe(self) -> str:
        return f"{super().describe()}, of standardised logits"

    def forward(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        return super().forward(standardise(student_logits), standardise(teacher_logits), target)


@distillers.register("mlkd_ls")
class MLKDLS(LogitDistiller):
    """`mlkd_ls_loss`: MLKD, its first level of standardised logits."""

    default_weight = 9.0
    default_gamma = 0.1

    def __init__(
        self,
        setting: Setting,
        *,
        temperatures: Sequence[float] = (2.0, 2.0, 3.0, 5.0, 6.0),
    ) -> None:
        super().__init__(setting)
        self.temperatures = tuple(temperatures)

    def describe(self) -> str:
        return f"mlkd of standardised logits, T {' '.join(f'{t:g}' for t in self.temperatures)}"

    def forward(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        return mlkd_ls_loss(student_logits, teacher_logits, temperatures=self.temperatures)
