"""SimKD: the student learns the teacher's features and then uses the teacher's classifier.

D. Chen, J.-P. Mei, H. Zhang, C. Wang, Y. Feng, C. Chen, "Knowledge Distillation with the Reused Teacher
Classifier", CVPR 2022, arXiv 2203.14001.

A projector takes the student's last map to the teacher's channels; at evaluation the teacher's classifier
reads what it gives, so the student's own classifier, which nothing trains, is replaced.

Deviation: the paper compares the teacher's last map with the projected one. Not every teacher here classifies
the average of its last map: Wide ResNets have a BatchNorm and a ReLU between the two, others a convolution.
So the averages are compared instead, the vectors that the classifiers read.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from distiller_zoo.base import Batch, FeatureDistiller, Outputs, Setting
from distiller_zoo.precision import at_least_float32
from distiller_zoo.registry import distillers
from helper.errors import UserError


def simkd_loss(student_vector: torch.Tensor, teacher_vector: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the projected student's and the teacher's vectors (P, C): a scalar, 0 or more."""
    return F.mse_loss(at_least_float32(student_vector), at_least_float32(teacher_vector))


def projector(in_channels: int, out_channels: int, *, reduction: int) -> nn.Sequential:
    """1x1, 3x3 and 1x1 convolutions, each with BatchNorm and ReLU, `reduction` times narrower in between."""
    narrow = out_channels // reduction
    layers: list[nn.Module] = []
    for before, after, kernel in (
        (in_channels, narrow, 1),
        (narrow, narrow, 3),
        (narrow, out_channels, 1),
    ):
        conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


@distillers.register("simkd")
class SimKD(FeatureDistiller):
    """`simkd_loss`; the student's logits are the teacher's classifier's. Published without any other loss."""

    changes_head = True
    default_weight = 1.0
    default_gamma = 0.0

    def __init__(self, setting: Setting, *, reduction: int = 2) -> None:
        """`reduction`: the paper's factor of the projector, 2, 4 or 8.

        The classifier is a copy in buffers: it moves and is saved with this module, and is never trained.
        Raises UserError for a teacher whose last layer does not read its pooled vector.
        """
        super().__init__(setting)
        classifier, channels = setting.teacher_classifier, setting.teacher_shapes[-1][1]
        if classifier is None or classifier.in_features != channels:
            reads = "nothing linear" if classifier is None else f"{classifier.in_features} values"
            raise UserError(
                f"--distill simkd: needs a teacher that classifies its {channels} features; it reads {reads}"
            )
        self.reduction = reduction
        self.project = projector(setting.student_shapes[-2][1], channels, reduction=reduction)
        self.register_buffer("weight", classifier.weight.detach().clone())
        self.register_buffer("bias", classifier.bias.detach().clone())

    def describe(self) -> str:
        return (
            f"simkd projector reduction {self.reduction}, the student uses the teacher's classifier"
        )

    def replace_head(self, student: Outputs) -> Outputs:
        """Logits (P, K) by the teacher's classifier, of the average of the projected last map (P, C_t), 0 or more."""
        vector = self.project(at_least_float32(student.features[-2])).mean((2, 3))
        return replace(student, logits=F.linear(vector, self.weight, self.bias), head_input=vector)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        return simkd_loss(student.head_input, teacher.features[-1])
