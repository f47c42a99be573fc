"""The two kinds of distillers, what they are built from, and what they are shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn


@dataclass(frozen=True)
class Target:
    """The labels of a view's P images."""

    own: torch.Tensor
    """(P,) int64"""
    partner: torch.Tensor | None = None
    """(P,) int64, the label of what was mixed in, or (P, S) of several; None where nothing is mixed."""
    lam: torch.Tensor | None = None
    """() or (P,): the weight of the own label. A single partner's is 1 - lam."""
    shares: torch.Tensor | None = None
    """(P, S): the weights of several partners' labels."""

    def average(self, loss: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Mean over the images of `loss`, a function of labels (P,) -> (P,), weighted by the shares in the mix."""
        own = loss(self.own)
        if self.partner is None:
            return own.mean()
        if self.shares is None:
            return (self.lam * own + (1 - self.lam) * loss(self.partner)).mean()
        others = [share * loss(labels) for share, labels in zip(self.shares.T, self.partner.T)]
        return (self.lam * own + sum(others)).mean()


@dataclass(frozen=True)
class Outputs:
    """What one network says of one view."""

    logits: torch.Tensor
    """(P, K)"""
    features: Sequence[torch.Tensor] = ()
    """As `model(images, is_feat=True, preact=...)` gives them: maps (P, C, H, W), last the vector (P, C)."""
    head_input: torch.Tensor | None = None
    """Of a student whose head a distiller replaces: what that head reads, (P, C)."""


@dataclass(frozen=True)
class Batch:
    """What is known of a view's images beside the networks' outputs."""

    target: Target
    rows: torch.Tensor
    """(P,) int64: which images of the training set they are (made from)."""
    is_clean: bool = True
    """The first view, the training images themselves; False for the second view."""


@dataclass(frozen=True)
class Setting:
    """What a distiller is built for. Shapes are those of `Outputs.features`, their first entry any batch size."""

    student_shapes: Sequence[torch.Size] = ()
    teacher_shapes: Sequence[torch.Size] = ()
    num_classes: int = 100
    train_labels: torch.Tensor | None = None
    """(N,) int64 of the training set, for methods that keep something for each image."""
    pair: str = ""
    """The networks' names, "teacher/student": some methods have published settings for some pairs."""
    kd_S: float = 4.0
    kd_T: float = 4.0
    """Temperatures of student and teacher, for methods that take the user's."""
    hint_layer: int = 2
    feat_dim: int = 128
    mode: str = "exact"
    nce_k: int = 16384
    nce_t: float = 0.07
    nce_m: float = 0.5
    teacher_classifier: nn.Linear | None = None
    """The teacher's last layer, frozen."""
    generator: torch.Generator | None = None
    """On the CPU, for the random draws that a distiller makes while training."""


class Distiller(nn.Module):
    """What both kinds have in common. Their random initial weights come from the global generator."""

    default_weight: ClassVar[float] = 1.0
    """The published weight of the method's loss: alpha of a logit distiller, beta of a feature distiller."""
    default_gamma: ClassVar[float] = 1.0
    """The published weight of the labels' cross-entropy beside it."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()

    def start_epoch(self, epoch: int) -> None:
        """Told before each epoch, counted from 1."""

    def describe(self) -> str:
        """The method's own settings in a few words, for log.txt."""
        return ""


class LogitDistiller(Distiller):
    """Compares logits: takes the place of KD in the loss, on both views, with the weights of --lw_mix."""

    def forward(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        """Both logits (P, K) -> a scalar. The teacher's carry no gradient."""
        raise NotImplementedError


class FeatureDistiller(Distiller):
    """Compares what is inside the networks: added to the loss with the weight --beta."""

    preact: ClassVar[bool] = False
    """Which features it reads: with True, the stages' maps before their last ReLU."""
    changes_head: ClassVar[bool] = False
    """`replace_head` gives the student's logits, in evaluation too."""
    has_initial_stage: ClassVar[bool] = False
    """Something is trained with `initial_loss` for --init_epochs, before the student is."""
    initial_learning_rate: ClassVar[float] = float("inf")
    """The most that stage takes of --learning_rate."""
    in_main_stage: ClassVar[bool] = True
    """Whether it adds to the loss after the initial stage."""

    def initial_modules(self, student: nn.Module) -> list[nn.Module]:
        """What the initial stage trains: parts of the student network, or of this module."""
        raise NotImplementedError

    def initial_loss(self, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """The initial stage's scalar loss."""
        raise NotImplementedError

    def replace_head(self, student: Outputs) -> Outputs:
        """The student's outputs with the logits, and the `head_input`, of the head that this method puts on it."""
        raise NotImplementedError

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """A scalar loss. The teacher's outputs carry no gradient. Not called unless `in_main_stage`."""
        raise NotImplementedError
