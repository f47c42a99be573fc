"""Logit standardisation: a temperature for each image; only its logits' shape is matched.

S. Sun, W. Ren, J. Li, R. Wang, X. Cao, "Logit Standardization in Knowledge Distillation", CVPR
2024, arXiv 2403.01427. It goes on top of a method that compares logits: here KD, DKD and MLKD.

The constants of the pairs on CIFAR-100 are those that the authors' logs name. As in their code
since 2024-05-18, DKD's temperature is the base temperature of the logs, and their weight multiplies
both of its terms.
"""

from typing import ClassVar

import torch

from distiller_zoo.base import LogitDistiller, Published, at_least_float32
from distiller_zoo.dkd import DKD, dkd_loss
from distiller_zoo.kd import kd_loss
from distiller_zoo.mlkd import MLKD, STRONG_VIEW
from distiller_zoo.registry import distillers
from helper.registry import key


def standardise(logits: torch.Tensor, *, eps: float = 1e-7) -> torch.Tensor:
    """Each image's logits (P, K) with mean 0 and, by the K - 1 estimate, standard deviation 1."""
    logits = at_least_float32(logits)
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + eps)


def ls_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, *, temperature: float = 2.0
) -> torch.Tensor:
    """`kd_loss` of the standardised logits, with its T^2: a scalar, 0 or more. Both logits: (P, K).

    Scaling (by more than 0) and shifting an image's logits, the student's or the teacher's, changes
    nothing.
    """
    student, teacher = standardise(student_logits), standardise(teacher_logits)
    return kd_loss(student, teacher, kd_S=temperature, kd_T=temperature)


def dkd_ls_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 2.0,
) -> torch.Tensor:
    """`dkd_loss` of the standardised logits: (P,)."""
    student, teacher = standardise(student_logits), standardise(teacher_logits)
    return dkd_loss(student, teacher, labels, alpha=alpha, beta=beta, temperature=temperature)


@distillers.register("ls")
class LS(LogitDistiller):
    """`ls_loss`: KD of standardised logits."""

    T = key(2.0, 0.01, 1000, "base temperature")
    default_weight = 9.0
    default_gamma = 0.1
    published: ClassVar[Published] = {
        "cifar100": {
            "vgg13/vgg8": {"T": 3.0},
            "vgg13/MobileNetV2": {"T": 3.0},
            "wrn_40_2/MobileNetV2": {"T": 3.0},
            "resnet32x4/wrn_16_2": {"T": 3.0},
            "resnet32x4/wrn_40_2": {"T": 3.0},
            "resnet110/resnet20": {"T": 4.0, "weight": 12.0},
            "ResNet50/MobileNetV2": {"T": 3.0, "weight": 1.0},
        }
    }
    loss = staticmethod(ls_loss)


@distillers.register("dkd_ls")
class DKDLS(DKD):
    """`dkd_ls_loss`: DKD of standardised logits."""

    T = key(2.0, 0.01, 1000, "base temperature")
    default_weight = 9.0
    published: ClassVar[Published] = {
        "cifar100": {
            "wrn_40_2/wrn_16_2": {"beta": 2.0, "weight": 12.0},
            "wrn_40_2/wrn_40_1": {"beta": 2.0, "weight": 12.0},
            "wrn_40_2/resnet8x4": {"beta": 2.0, "weight": 18.0},
            "wrn_40_2/MobileNetV2": {"beta": 2.0, "weight": 15.0},
            "resnet56/resnet20": {"beta": 2.0, "T": 3.0, "weight": 18.0},
            "resnet110/resnet20": {"beta": 2.0, "weight": 15.0},
            "resnet110/resnet32": {"beta": 2.0, "weight": 15.0},
            "resnet32x4/wrn_16_2": {"beta": 2.0, "weight": 9.0},
            "vgg13/vgg8": {"beta": 2.0, "weight": 15.0},
            "vgg13/MobileNetV2": {"beta": 2.0, "T": 3.0, "weight": 9.0},
            "ResNet50/MobileNetV2": {"beta": 2.0, "weight": 15.0},
        }
    }
    loss = staticmethod(dkd_ls_loss)


@distillers.register("mlkd_ls")
class MLKDLS(MLKD):
    """MLKD with T0 = 2. As published, it standardises its predictions, not its correlations."""

    T = key(2.0, 0.01, 1000, "the first of the five temperatures")
    default_weight = 9.0
    published: ClassVar[Published] = {
        "cifar100": {
            "vgg13/vgg8": {"weight": 6.0},
            "vgg13/MobileNetV2": {"weight": 6.0},
            "resnet32x4/ShuffleV2": {"weight": 6.0},
        }
    }
    recipe: ClassVar[Published] = {
        "cifar100": {
            "": {"learning_rate": 0.025, "epoch_factor": 2, **STRONG_VIEW},
            "/MobileNetV2": {"learning_rate": 0.01},
            "/ShuffleV1": {"learning_rate": 0.01},
            "/ShuffleV2": {"learning_rate": 0.01},
            "vgg13/vgg8": {"learning_rate": 0.01},
            "wrn_40_2/MobileNetV2": {"learning_rate": 0.005},
            "resnet32x4/ShuffleV1": {"epoch_factor": 4},
            "resnet32x4/ShuffleV2": {"epoch_factor": 4},
        }
    }
    compare = staticmethod(ls_loss)
