"""Parts of feature distillers: pairs of stages, and small networks between the two."""

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from distiller_zoo.base import Outputs, Setting, at_least_float32
from helper.errors import UserError

T = TypeVar("T")


def full_precision(outputs: Outputs) -> list[torch.Tensor]:
    """The features, those of less than 32 bits (autocast) as float32."""
    return [at_least_float32(feature) for feature in outputs.features]


def pair_stages(student: Sequence[T], teacher: Sequence[T]) -> list[tuple[T, T]]:
    """(student's, teacher's) in the networks' order.

    Where one has more, its last ones: the ends meet.
    """
    count = min(len(student), len(teacher))
    return list(zip(student[len(student) - count :], teacher[len(teacher) - count :]))


def paired_maps(
    student: Outputs, teacher: Outputs, *, first: int = 1
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """`pair_stages` of the maps from number `first` on, the stem's being 0; at least float32."""
    return pair_stages(full_precision(student)[first:-1], full_precision(teacher)[first:-1])


def paired_shapes(setting: Setting, *, first: int = 1) -> list[tuple[torch.Size, torch.Size]]:
    """The shapes of `paired_maps`."""
    return pair_stages(setting.student_shapes[first:-1], setting.teacher_shapes[first:-1])


def same_size(student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps (B, C, H, W), the larger averaged down to the smaller. Channels may differ."""
    height, width = map(min, student.shape[2:], teacher.shape[2:])
    student, teacher = (
        m if m.shape[2:] == (height, width) else F.adaptive_avg_pool2d(m, (height, width))
        for m in (student, teacher)
    )
    return student, teacher


def require_equal_channels(method: str, pairs: Sequence[tuple[torch.Size, torch.Size]]) -> None:
    """UserError unless the shapes of each pair have the same number of channels."""
    for student, teacher in pairs:
        if student[1] != teacher[1]:
            raise UserError(
                f"--distill {method}: needs stages of equal channels, not {student[1]} (student)"
                f" and {teacher[1]} (teacher); choose networks of one width, or another method"
            )


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm, as in eval mode for one image with a map of one pixel: it has no variance."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and x.numel() == self.num_features:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)


class ConvReg(nn.Module):
    """Student's map -> one of the teacher's channels and size: convolution, BatchNorm, ReLU.

    From twice or half the teacher's side by a stride of 2, from any larger side s to t by one valid
    convolution with a kernel of 1 + s - t. A smaller map, but for the half, keeps its size.
    """

    def __init__(
        self, student_shape: torch.Size, teacher_shape: torch.Size, *, has_relu: bool = True
    ) -> None:
        super().__init__()
        self.has_relu = has_relu
        (_, c_in, h_in, w_in), (_, c_out, h_out, w_out) = student_shape, teacher_shape
        if (h_in, w_in) == (2 * h_out, 2 * w_out):
            self.conv = nn.Conv2d(c_in, c_out, 3, stride=2, padding=1)
        elif (2 * h_in, 2 * w_in) == (h_out, w_out):
            self.conv = nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1)
        else:
            kernel = (1 + max(h_in - h_out, 0), 1 + max(w_in - w_out, 0))
            self.conv = nn.Conv2d(c_in, c_out, kernel)
        self.bn = BatchNorm(c_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.conv(x))
        return F.relu(x) if self.has_relu else x


class LinearEmbed(nn.Module):
    """(B, ...) -> (B, dim_out)."""

    def __init__(self, dim_in: int, dim_out: int = 128) -> None:
        super().__init__()
        self.linear = nn.Linear(dim_in, dim_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1))


def _block(conv: nn.Conv2d | nn.ConvTranspose2d, use_bn: bool) -> list[nn.Module]:
    return [conv, BatchNorm(conv.out_channels) if use_bn else nn.Identity(), nn.LeakyReLU(0.1)]


def _encoder(c_in: int, c_out: int, use_bn: bool) -> nn.Sequential:
    """Three 3x3 convolutions; the second changes the channels. The size of the map stays."""
    channels = [(c_in, c_in), (c_in, c_out), (c_out, c_out)]
    return nn.Sequential(
        *(layer for c in channels for layer in _block(nn.Conv2d(*c, 3, padding=1), use_bn))
    )


class Translator(nn.Module):
    """Factor transfer, student: map (B, C_s, H, W) -> factor (B, k C_t, H, W)."""

    def __init__(
        self, student_shape: torch.Size, teacher_shape: torch.Size, k: float = 0.5
    ) -> None:
        super().__init__()
        self.encoder = _encoder(student_shape[1], int(k * teacher_shape[1]), use_bn=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)


class Paraphraser(nn.Module):
    """Factor transfer, teacher: an autoencoder of the map (B, C_t, H, W).

    `encoder` gives the factor (B, k C_t, H, W).
    """

    def __init__(self, teacher_shape: torch.Size, k: float = 0.5) -> None:
        super().__init__()
        c = teacher_shape[1]
        factor = int(k * c)
        self.encoder = _encoder(c, factor, use_bn=False)
        channels = [(factor, factor), (factor, c), (c, c)]
        self.decoder = nn.Sequential(
            *(
                y
                for pair in channels
                for y in _block(nn.ConvTranspose2d(*pair, 3, padding=1), use_bn=False)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The reconstruction (B, C_t, H, W)."""
        return self.decoder(self.encoder(x))
