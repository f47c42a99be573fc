"""Decoupled knowledge distillation.

B. Zhao, Q. Cui, R. Song, Y. Qiu, J. Liang, "Decoupled Knowledge Distillation", CVPR 2022, arXiv
2203.08679.

KD is TCKD + (1 - p) NCKD, with p the teacher's probability of the label: what a confident teacher
knows of the other classes hardly counts. DKD gives the two terms weights of their own.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F

from distiller_zoo.base import LogitDistiller, Published, at_least_float32
from distiller_zoo.registry import distillers
from helper.registry import key


def other_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The logits (P, K) without those of the labels (P,): (P, K - 1), order kept."""
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

    TCKD is the KL divergence, teacher to student, of (p_label, 1 - p_label); NCKD that of the
    distributions over the other classes, which sum to 1. p = softmax(logits / T). Both logits: (P,
    K), labels: (P,) int64.
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
    """`dkd_loss`, its weight ramping up linearly over the first epochs.

    On CIFAR-100 beta is that of the authors' configurations; ResNet50/wrn_16_2 is from their issue
    6 (mdistiller).
    """

    alpha = key(1.0, 0, 1e6, "weight of the label against all others")
    beta = key(8.0, 0, 1e6, "weight of the distribution over the others")
    T = key(4.0, 0.01, 1000, "temperature")
    warmup = key(20, 0, 100000, "epochs over which the weight grows from 0")
    published: ClassVar[Published] = {
        "cifar100": {
            "wrn_40_2/wrn_16_2": {"beta": 6.0},
            "wrn_40_2/wrn_40_1": {"beta": 6.0},
            "wrn_40_2/ShuffleV1": {"beta": 8.0},
            "resnet56/resnet20": {"beta": 2.0},
            "resnet110/resnet32": {"beta": 2.0},
            "resnet32x4/resnet8x4": {"beta": 8.0},
            "resnet32x4/ShuffleV1": {"beta": 8.0},
            "resnet32x4/ShuffleV2": {"beta": 8.0},
            "vgg13/vgg8": {"beta": 6.0},
            "vgg13/MobileNetV2": {"beta": 6.0},
            "ResNet50/MobileNetV2": {"beta": 8.0},
            "ResNet50/wrn_16_2": {"beta": 6.0},
        },
        "imagenet": {
            "": {"T": 1.0, "warmup": 1},
            "resnet34/resnet18": {"beta": 0.5},
            "resnet50/MobileNetV1": {"beta": 2.0},
        },
    }
    needs_labels = True
    loss = staticmethod(dkd_loss)
