"""FitNets: the student's map, through a regressor, imitates the teacher's.

A. Romero, N. Ballas, S. E. Kahou, A. Chassang, C. Gatta, Y. Bengio, "FitNets: Hints for Thin Deep
Nets", ICLR 2015, arXiv 1412.6550. As in CRD's comparison (Y. Tian et al., ICLR 2020, arXiv
1910.10699) the hint is a term of the loss throughout training, not a first stage.
"""

import torch
import torch.nn.functional as F

from distiller_zoo.base import Batch, FeatureDistiller, Outputs, Setting
from distiller_zoo.connectors import ConvReg, full_precision, same_size
from distiller_zoo.registry import distillers
from helper.errors import UserError
from helper.registry import Value, key


def hint_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of maps (B, C, H, W), the larger averaged down: 0 or more."""
    return F.mse_loss(*same_size(student, teacher))


@distillers.register("hint")
class Hint(FeatureDistiller):
    """`hint_loss` of both networks' map number `layer`, the stem's being 0.

    The student's through a `ConvReg`.
    """

    layer = key(None, 0, 100, "which map, the stem's being 0", kind=int, flag="hint_layer")
    default_weight = 100.0

    def __init__(self, setting: Setting, **given: Value) -> None:
        super().__init__(setting, **given)
        last = min(len(setting.student_shapes), len(setting.teacher_shapes)) - 2
        if not 0 <= self.layer <= last:
            raise UserError(
                f"--distill hint: --hint_layer {self.layer} is no map of both networks: 0 to {last}"
            )
        self.regressor = ConvReg(
            setting.student_shapes[self.layer], setting.teacher_shapes[self.layer]
        )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        mapped = self.regressor(full_precision(student)[self.layer])
        return hint_loss(mapped, full_precision(teacher)[self.layer])
