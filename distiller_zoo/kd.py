"""Knowledge distillation by soft targets.

G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", NeurIPS 2014
workshop, arXiv 1503.02531.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F

from distiller_zoo.base import LogitDistiller, Published, Setting, at_least_float32
from distiller_zoo.registry import distillers
from helper.registry import Value, key


def kd_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    *,
    kd_S: float = 4.0,
    kd_T: float = 4.0,
) -> torch.Tensor:
    """kd_S^2 times the batch mean of KL(softmax(teacher / kd_T) || softmax(student / kd_S)).

    Both logits: (B, K). Returns a scalar, 0 or more. The square of the temperature keeps the
    gradient's size the same at every temperature; it is the student's, as published.
    """
    log_student = F.log_softmax(at_least_float32(student_logits) / kd_S, dim=1)
    log_teacher = F.log_softmax(at_least_float32(teacher_logits) / kd_T, dim=1)
    return kd_S**2 * F.kl_div(log_student, log_teacher, log_target=True, reduction="batchmean")


@distillers.register("kd")
class KD(LogitDistiller):
    """`kd_loss`.

    T alone sets both temperatures; without either they are those of --kd_T and --kd_S.
    """

    T = key(None, 0.01, 1000, "temperature of the teacher", kind=float, flag="kd_T")
    S = key(
        None,
        0.01,
        1000,
        "temperature of the student; T if only T is given",
        kind=float,
        flag="kd_S",
    )
    default_weight = 0.9
    recipe: ClassVar[Published] = {"cifar100": {"": {"gamma": 0.1}}}
    loss = staticmethod(kd_loss)

    def __init__(self, setting: Setting, **given: Value) -> None:
        super().__init__(setting, **({"S": given["T"]} if "T" in given else {}) | given)

    @property
    def arguments(self) -> dict[str, Value]:
        return {"kd_S": self.S, "kd_T": self.T}
