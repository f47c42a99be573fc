"""Softmax regression representation learning.

The teacher's classifier should read the student's features as it reads its own.

J. Yang, B. Martinez, A. Bulat, G. Tzimiropoulos, "Knowledge Distillation via Softmax Regression
Representation Learning", ICLR 2021 (no arXiv version).

Written from the paper and not compared with the authors' code. The student's pooled vector goes
through a linear layer, BatchNorm and ReLU to the teacher's size. The student keeps its own
classifier, in contrast to simkd. The weights of the authors' runs are not settled here: both terms
have 1.
"""

import torch
import torch.nn.functional as F
from torch import nn

from distiller_zoo.base import Batch, FeatureDistiller, Outputs, Setting, at_least_float32
from distiller_zoo.connectors import BatchNorm, full_precision
from distiller_zoo.registry import distillers
from helper.errors import UserError
from helper.registry import Value, key


def srrl_loss(
    vectors: tuple[torch.Tensor, torch.Tensor],
    logits: tuple[torch.Tensor, torch.Tensor],
    *,
    features: float = 1.0,
    regression: float = 1.0,
) -> torch.Tensor:
    """features * MSE of the vectors + regression * MSE of the logits: a scalar, 0 or more.

    The student's and the teacher's vectors (P, C), and what the teacher's classifier says of each,
    (P, K).
    """
    return features * F.mse_loss(*vectors) + regression * F.mse_loss(*logits)


@distillers.register("srrl")
class SRRL(FeatureDistiller):
    """`srrl_loss` of the pooled vectors.

    Any two networks pair whose teacher classifies its pooled vector.
    """

    features = key(1.0, 0, 1e6, "weight of the vectors' difference")
    regression = key(1.0, 0, 1e6, "weight of the difference of what the teacher's classifier says")
    default_weight = 1.0
    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, setting: Setting, **given: Value) -> None:
        """The classifier is a copy in buffers, as in simkd.

        UserError if it does not read the pooled vector.
        """
        super().__init__(setting, **given)
        classifier, channels = setting.teacher_classifier, setting.teacher_shapes[-1][1]
        if classifier is None or classifier.in_features != channels:
            raise UserError(
                f"--distill srrl: needs a teacher that classifies its {channels} features"
            )
        self.transfer = nn.Sequential(
            nn.Conv2d(setting.student_shapes[-1][1], channels, 1, bias=False),
            BatchNorm(channels),
            nn.ReLU(),
        )
        self.register_buffer("weight", classifier.weight.detach().clone())
        self.register_buffer("bias", classifier.bias.detach().clone())

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        vector = self.transfer(full_precision(student)[-1][:, :, None, None]).flatten(1)  # (P, C_t)
        logits = F.linear(vector, self.weight, self.bias)  # (P, K)
        return srrl_loss(
            (vector, full_precision(teacher)[-1]),
            (logits, at_least_float32(teacher.logits)),
            features=self.features,
            regression=self.regression,
        )
