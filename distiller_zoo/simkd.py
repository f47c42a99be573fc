"""SimKD: the student learns the teacher's features and then uses the teacher's classifier.

D. Chen, J.-P. Mei, H. Zhang, C. Wang, Y. Feng, C. Chen, "Knowledge Distillation with the Reused
Teacher Classifier", CVPR 2022, arXiv 2203.14001.

A projector takes the student's last map to the teacher's channels; at evaluation the teacher's
classifier reads the average of what it gives, so the student's own classifier, which nothing
trains, is replaced.

The loss compares the projected map with the teacher's last map. A larger map is averaged down to
the other's size first: the student's before the projector, the teacher's before the comparison. The
teacher's map is the one whose average its classifier reads: in Wide ResNets, that after the last
BatchNorm and ReLU.

Deviation: some teachers here (MobileNetV2, ShuffleV2) have a convolution between their last map and
the average. For them the averages are compared, the vectors that the classifiers read.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from distiller_zoo.base import Batch, FeatureDistiller, Outputs, Setting, at_least_float32
from distiller_zoo.connectors import BatchNorm, same_size
from distiller_zoo.registry import distillers
from helper.errors import UserError
from helper.registry import Value, key


def simkd_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared error of projected student and teacher maps, or vectors: a scalar, 0 or more.

    Maps (P, C, H, W); the teacher's is averaged down where it is larger. Vectors (P, C).
    """
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    return F.mse_loss(*(same_size(student, teacher) if student.ndim == 4 else (student, teacher)))


def projector(in_channels: int, out_channels: int, *, reduction: int) -> nn.Sequential:
    """1x1, 3x3, 1x1 convolutions with BatchNorm and ReLU, `reduction` times narrower in between."""
    narrow = out_channels // reduction
    layers: list[nn.Module] = []
    for before, after, kernel in (
        (in_channels, narrow, 1),
        (narrow, narrow, 3),
        (narrow, out_channels, 1),
    ):
        conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
        layers += [conv, BatchNorm(after), nn.ReLU()]
    return nn.Sequential(*layers)


@distillers.register("simkd")
class SimKD(FeatureDistiller):
    """`simkd_loss`; the student's logits are the teacher's classifier's.

    Published without any other loss.
    """

    factor = key(
        2, 1, 64, "how many times the projector is narrower in between; the paper has 2, 4 and 8"
    )
    teacher_preact = True
    changes_head = True
    default_weight = 1.0
    default_gamma = 0.0
    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, setting: Setting, **given: Value) -> None:
        """Copy the classifier into buffers: moved and saved with this module, never trained.

        Raises UserError for a teacher whose last layer does not read its pooled vector.
        """
        super().__init__(setting, **given)
        classifier, channels = setting.teacher_classifier, setting.teacher_shapes[-1][1]
        if classifier is None or classifier.in_features != channels:
            reads = "nothing linear" if classifier is None else f"{classifier.in_features} values"
            raise UserError(
                f"--distill simkd: needs a teacher that classifies its {channels} features; it"
                f" reads {reads}"
            )
        *_, student, _ = setting.student_shapes
        *_, teacher, _ = setting.teacher_shapes
        self.compares_maps = teacher[1] == channels
        height, width = map(min, student[2:], teacher[2:])
        self.size = (height, width)
        """Height and width that the student's map is averaged down to."""
        self.project = projector(student[1], channels, reduction=self.factor)
        self.register_buffer("weight", classifier.weight.detach().clone())
        self.register_buffer("bias", classifier.bias.detach().clone())

    def describe(self) -> str:
        compared = "maps" if self.compares_maps else "pooled vectors"
        return f"compares {compared}, the student uses the teacher's classifier"

    def replace_head(self, student: Outputs) -> Outputs:
        """Logits (P, K) of the teacher's classifier, for the mean of projected (P, C_t, h, w)."""
        last = at_least_float32(student.features[-2])  # (P, C, H, W)
        if last.shape[2:] != self.size:
            last = F.adaptive_avg_pool2d(last, self.size)
        projected = self.project(last)
        logits = F.linear(projected.mean((2, 3)), self.weight, self.bias)
        return replace(student, logits=logits, head_input=projected)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        assert student.head_input is not None  # see replace_head
        if self.compares_maps:
            return simkd_loss(student.head_input, F.relu(teacher.features[-2]))
        return simkd_loss(student.head_input.mean((2, 3)), teacher.features[-1])
