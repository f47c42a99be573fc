"""Factor transfer: the student imitates the teacher's map as an autoencoder compresses it.

J. Kim, S. Park, N. Kwak, "Paraphrasing Complex Network: Network Compression via Factor Transfer",
NeurIPS 2018, arXiv 1802.04977. As in CRD's comparison (Y. Tian et al., ICLR 2020, arXiv 1910.10699)
the factors are compared by their attention maps, not value by value.
"""

import torch
import torch.nn.functional as F
from torch import nn

from distiller_zoo.attention import attention_map
from distiller_zoo.base import Batch, FeatureDistiller, Outputs, Setting
from distiller_zoo.connectors import Paraphraser, Translator, full_precision, same_size
from distiller_zoo.registry import distillers
from helper.registry import Value, key


def factor_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the factors' attention maps, over the images and places.

    A scalar, 0 or more. Factors (B, C, H, W); the larger is averaged down to the smaller's size.
    """
    student, teacher = same_size(student, teacher)
    return (attention_map(student) - attention_map(teacher)).abs().mean()


@distillers.register("factor")
class Factor(FeatureDistiller):
    """`factor_loss` of the last maps, the student's translated, the teacher's paraphrased.

    Any networks pair.

    The initial stage trains the paraphraser alone, to reconstruct the teacher's map. Then it stays
    as it is, and the translator learns with the student.
    """

    k = key(0.5, 0.01, 10, "channels of the factor, as a share of the teacher's")
    default_weight = 200.0
    has_initial_stage = True

    def __init__(self, setting: Setting, **given: Value) -> None:
        """The initial stage's rate: at most 0.01 for resnet and wrn students, as CRD has it."""
        super().__init__(setting, **given)
        if setting.student.startswith(("resnet", "wrn_")):
            self.initial_learning_rate = 0.01
        student_shape, teacher_shape = setting.student_shapes[-2], setting.teacher_shapes[-2]
        self.translator = Translator(student_shape, teacher_shape, self.k)
        self.paraphraser = Paraphraser(teacher_shape, self.k)

    def initial_modules(self, student: nn.Module) -> list[nn.Module]:
        return [self.paraphraser]

    def initial_loss(self, student: Outputs, teacher: Outputs) -> torch.Tensor:
        features = full_precision(teacher)[-2]
        return F.mse_loss(self.paraphraser(features), features)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        with torch.no_grad():
            teacher_factor = self.paraphraser.encoder(full_precision(teacher)[-2])
        return factor_loss(self.translator(full_precision(student)[-2]), teacher_factor)
