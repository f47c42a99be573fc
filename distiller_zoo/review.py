"""Knowledge review: a teacher stage teaches the student's stages at its depth and deeper.

P. Chen, S. Liu, H. Zhao, J. Jia, "Distilling Knowledge via Knowledge Review", CVPR 2021, arXiv
2104.09044.

From deep to shallow, the student's stages are merged one by one by attention based fusion (ABF),
and what is merged so far predicts the teacher's stage; the hierarchical context loss (HCL) compares
the two.

As in the authors' code the teacher's maps are those before ReLU; the student's are those after it,
but on ImageNet before it. Of networks with different numbers of stages the deepest ones are paired.
The number of epochs over which the weight grows on ImageNet is not known here: 20, as on CIFAR-100,
unless it is given.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from distiller_zoo.base import (
    Batch,
    FeatureDistiller,
    Outputs,
    Published,
    Setting,
    at_least_float32,
    total,
)
from distiller_zoo.connectors import BatchNorm
from distiller_zoo.registry import distillers
from helper.registry import Value, key


def hcl_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Hierarchical context loss of two maps (P, C, H, W): a scalar, 0 or more.

    Mean squared errors of the maps themselves and of their averages on grids of 4x4, 2x2 and 1x1,
    as far as these are smaller than H, weighted 1, 1/2, 1/4, 1/8 over the weights' sum.
    """
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    losses = [F.mse_loss(student, teacher)]
    for side in (4, 2, 1):
        if side < student.shape[2]:
            s, t = (F.adaptive_avg_pool2d(maps, side) for maps in (student, teacher))
            losses.append(F.mse_loss(s, t))
    weights = [0.5**level for level in range(len(losses))]
    return total(weight * loss for weight, loss in zip(weights, losses)) / sum(weights)


class AttentionBasedFusion(nn.Module):
    """Merges a student's stage with the deeper ones, and predicts the teacher's stage from it."""

    def __init__(
        self, in_channels: int, channels: int, out_channels: int, *, is_deepest: bool
    ) -> None:
        """Channels of the student's map, of what is handed on, and of the teacher's map."""
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, bias=False), BatchNorm(channels)
        )
        self.attention = (
            None if is_deepest else nn.Sequential(nn.Conv2d(2 * channels, 2, 1), nn.Sigmoid())
        )
        self.predict = nn.Sequential(
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False), BatchNorm(out_channels)
        )
        for layer in (self.reduce[0], self.predict[0]):
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_uniform_(layer.weight, a=1)

    def forward(
        self, student: torch.Tensor, deeper: torch.Tensor | None, size: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Merge the student's (P, C_in, H, W) with the deeper (P, C, h, w), to the teacher's size.

        Returns the prediction (P, C_out, *size) and what is merged now (P, C, *size).
        """
        merged = self.reduce(student)
        if self.attention is not None:
            assert deeper is not None
            deeper = F.interpolate(deeper, merged.shape[2:])
            shares = self.attention(torch.cat([merged, deeper], 1))  # (P, 2, H, W)
            of_student, of_deeper = shares.split(1, 1)  # (P, 1, H, W)
            merged = of_student * merged + of_deeper * deeper
        merged = F.interpolate(merged, size)
        return self.predict(merged), merged


def _maps_from_deep(features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The pooled vector (P, C, 1, 1), then the stages' maps, deepest first, without the stem's."""
    return [features[-1][:, :, None, None], *reversed(features[1:-1])]


@distillers.register("review")
class Review(FeatureDistiller):
    """`hcl_loss` summed over stages and the pooled vectors; it ramps up over the first epochs.

    Published without a comparison of the logits (alpha 0).
    """

    warmup = key(20, 0, 100000, "epochs over which the weight grows from 0")
    channels = key(
        512, 1, 65536, "channels of the merged maps, if the student's last map has no fewer"
    )
    teacher_preact = True
    default_weight = 5.0
    published: ClassVar[Published] = {
        "cifar100": {
            "wrn_40_2/wrn_16_2": {"weight": 5.0},
            "wrn_40_2/wrn_40_1": {"weight": 5.0},
            "wrn_40_2/ShuffleV1": {"weight": 5.0},
            "resnet56/resnet20": {"weight": 0.6},
            "resnet110/resnet32": {"weight": 1.0},
            "resnet32x4/resnet8x4": {"weight": 5.0},
            "resnet32x4/ShuffleV1": {"weight": 5.0},
            "resnet32x4/ShuffleV2": {"weight": 8.0},
            "vgg13/vgg8": {
                "weight": 5.0
            },  # from issue 23 of mdistiller, the others from the authors' script
        },
        "imagenet": {
            "resnet34/resnet18": {"weight": 1.0},
            "resnet50/MobileNetV1": {"weight": 8.0},
        },
    }
    recipe: ClassVar[Published] = {
        "cifar100": {
            "": {"learning_rate": 0.1, "batch_size": 128, "nesterov": True},
            "/MobileNetV2": {"learning_rate": 0.02},
            "/ShuffleV1": {"learning_rate": 0.02},
            "/ShuffleV2": {"learning_rate": 0.02},
        }
    }

    def __init__(self, setting: Setting, **given: Value) -> None:
        super().__init__(setting, **given)
        self.preact = setting.dataset == "imagenet"
        student, teacher = (
            _maps_from_deep([torch.empty(shape, device="meta") for shape in shapes])
            for shapes in (setting.student_shapes, setting.teacher_shapes)
        )
        channels = min(self.channels, student[0].shape[1])
        self.fusions = nn.ModuleList(
            AttentionBasedFusion(s.shape[1], channels, t.shape[1], is_deepest=depth == 0)
            for depth, (s, t) in enumerate(zip(student, teacher))
        )

    def describe(self) -> str:
        return f"{len(self.fusions)} levels"

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        levels = zip(
            self.fusions, _maps_from_deep(student.features), _maps_from_deep(teacher.features)
        )
        losses, merged = [], None
        for fuse, student_map, teacher_map in levels:
            predicted, merged = fuse(at_least_float32(student_map), merged, teacher_map.shape[2:])
            losses.append(hcl_loss(predicted, teacher_map))
        return self.ramp * total(losses)
