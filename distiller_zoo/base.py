"""The two kinds of distillers, what they are built from, and what they are shown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from helper.registry import Key, Value, key, keys_of, read_keys, spell

Published = Mapping[str, Mapping[str, Mapping[str, Value]]]
"""Data set -> "teacher/student" -> key -> value. "" stands for all pairs, "/student" for any
teacher of a student; a pair's own values go first."""


def total(losses: Iterable[torch.Tensor]) -> torch.Tensor:
    """Their sum; 0 if there is none."""
    return sum(losses, torch.zeros(()))


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """The precision in which losses are computed: half precisions become float32, others stay."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


@dataclass(frozen=True)
class Target:
    """The labels of a view's P images."""

    own: torch.Tensor
    """(P,) int64"""
    partner: torch.Tensor | None = None
    """(P,) int64, the label of what was mixed in, or (P, S) of several; None where nothing is
    mixed."""
    lam: torch.Tensor | None = None
    """() or (P,): the weight of the own label. A single partner's is 1 - lam."""
    shares: torch.Tensor | None = None
    """(P, S): the weights of several partners' labels."""

    def average(self, loss: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Mean of `loss`, a function of labels (P,) -> (P,), weighted by the shares in the mix."""
        own = loss(self.own)
        if self.partner is None:
            return own.mean()
        assert self.lam is not None
        if self.shares is None:
            return (self.lam * own + (1 - self.lam) * loss(self.partner)).mean()
        others = [share * loss(labels) for share, labels in zip(self.shares.T, self.partner.T)]
        return (self.lam * own + total(others)).mean()


@dataclass(frozen=True)
class Outputs:
    """The output of one network for one view."""

    logits: torch.Tensor
    """(P, K)"""
    features: Sequence[torch.Tensor] = ()
    """As `model(images, is_feat=True, preact=...)` gives them: maps (P, C, H, W), last the vector
    (P, C)."""
    head_input: torch.Tensor | None = None
    """Only where a distiller replaces the student's head: the map (P, C, H, W) that this head
    averages."""


@dataclass(frozen=True)
class Batch:
    """Facts of a view's images, beside the networks' outputs."""

    target: Target
    rows: torch.Tensor
    """(P,) int64: which images of the training set they are (made from)."""
    is_clean: bool = True
    """The first view, the training images themselves; False for the second view."""


@dataclass(frozen=True)
class Setting:
    """The networks and data that a distiller is built for.

    Shapes are those of `Outputs.features`, their first entry any batch size.
    """

    student_shapes: Sequence[torch.Size] = ()
    teacher_shapes: Sequence[torch.Size] = ()
    num_classes: int = 100
    train_labels: torch.Tensor | None = None
    """(N,) int64 of the training set, for methods that keep something for each image."""
    dataset: str = "cifar100"
    """The data set's name: some methods have published settings for some of them."""
    pair: str = ""
    """The networks' names, "teacher/student": some methods have published settings for some
    pairs."""
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

    @property
    def student(self) -> str:
        """The student's name."""
        return self.pair.rpartition("/")[2]


class Distiller(nn.Module):
    """The base of both kinds. Their random initial weights come from the global generator.

    The constants of a method are class attributes made by `key`: `--distill NAME:key=value` sets
    them. An instance has the values in their place.
    """

    default_weight: float = 1.0
    """The published weight of the method's loss: alpha of a logit distiller, beta of a feature
    distiller."""
    default_gamma: ClassVar[float] = 1.0
    """The published weight of the labels' cross-entropy beside it."""
    published: ClassVar[Published] = {}
    """Values of keys, `weight` among them, that were published for some data sets and pairs."""
    recipe: ClassVar[Published] = {}
    """How the authors train, where it is not the common recipe: flags of the command line and their
    values."""

    def __init__(self, setting: Setting, **given: Value) -> None:
        """given: values of keys. UserError for an unknown key, or a value out of its range.

        A key that is not given has the value that was published for the pair on the data set, else
        its default, else that of its flag in `setting`.
        """
        super().__init__()
        published = published_for(self.published, setting)
        values = published | read_keys(type(self).__name__, self.keys(), given)
        self.default_weight = float(published.get("weight", self.default_weight))
        self.loss_weight = float(values.get("weight", self.default_weight))
        for name, one in keys_of(type(self)).items():
            default = getattr(setting, one.flag) if one.flag else one.default
            setattr(self, name, values.get(name, default))
        self.ramp = 1.0
        """The share of the loss that counts in this epoch; methods with a key `warmup` raise it to
        1 in as many."""

    @classmethod
    def keys(cls) -> dict[str, Key]:
        """Name -> key, the weight first."""
        weight = key(cls.default_weight, 0, 1e9, "weight of the loss, in place of -a or -b")
        return {"weight": weight, **keys_of(cls)}

    @property
    def values(self) -> dict[str, Value]:
        """The value of each key but the weight."""
        return {name: getattr(self, name) for name in keys_of(type(self))}

    def spell(self) -> str:
        """The values as `--distill` takes them: "alpha=1,beta=8"."""
        return ",".join(f"{name}={spell(value)}" for name, value in self.values.items())

    def start_epoch(self, epoch: int) -> None:
        """Told before each epoch, counted from 1."""
        self.ramp = min(epoch / max(getattr(self, "warmup", 0), 1), 1.0)

    def describe(self) -> str:
        """The parts of the method beside its keys, in a few words, for log.txt."""
        return ""


def published_for(published: Published, setting: Setting) -> dict[str, Value]:
    """The values for the setting's pair and data set."""
    of_dataset = published.get(setting.dataset, {})
    of_pairs = [of_dataset.get(pair, {}) for pair in ("", f"/{setting.student}", setting.pair)]
    return {name: value for values in of_pairs for name, value in values.items()}


class LogitDistiller(Distiller):
    """A method that compares logits, in the place of KD, on both views, with --lw_mix's weights.

    A method whose loss is a function of the logits and of its keys gives `loss`, and that is all.
    """

    loss: ClassVar[Callable[..., torch.Tensor]]
    """(student_logits, teacher_logits, **keys) -> a scalar; both logits (P, K). The key T is passed
    as `temperature`; `warmup` is not passed."""
    needs_labels: ClassVar[bool] = False
    """`loss` takes labels (P,) after the logits, and gives a loss (P,): mixed images count by their
    shares."""
    labels_of_view: ClassVar[bool] = False
    """The cross-entropy of the second view's labels belongs to the method, with the weight
    --gamma."""

    @property
    def arguments(self) -> dict[str, Value]:
        """The values of the keys as `loss` takes them."""
        values = self.values
        values.pop("warmup", None)
        if "T" in values:
            values["temperature"] = values.pop("T")
        return values

    def forward(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        """Both logits (P, K) -> a scalar. The teacher's carry no gradient."""
        loss, arguments = type(self).loss, self.arguments
        if not self.needs_labels:
            value = loss(student_logits, teacher_logits, **arguments)
        else:
            value = target.average(
                lambda labels: loss(student_logits, teacher_logits, labels, **arguments)
            )
        return value if self.ramp == 1 else self.ramp * value

    def second_view(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, target: Target
    ) -> torch.Tensor:
        """As `forward`, for the second view.

        Here the same; some methods treat the views in two ways.
        """
        return self(student_logits, teacher_logits, target)


class FeatureDistiller(Distiller):
    """Compares what is inside the networks: added to the loss with the weight --beta."""

    preact: bool = False
    """Which features of the student it reads: with True, the stages' maps before their last
    ReLU."""
    teacher_preact: bool = False
    """The same for the teacher's features."""
    changes_head: ClassVar[bool] = False
    """`replace_head` gives the student's logits, in evaluation too."""
    has_initial_stage: ClassVar[bool] = False
    """Something is trained with `initial_loss` for --init_epochs, before the student is."""
    initial_learning_rate: float = float("inf")
    """The most that stage takes of --learning_rate."""
    in_main_stage: ClassVar[bool] = True
    """Whether it adds to the loss after the initial stage."""

    def initial_modules(self, student: Any) -> list[nn.Module]:
        """Modules that the initial stage trains: parts of the student, or of this module."""
        raise NotImplementedError

    def initial_loss(self, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """The initial stage's scalar loss."""
        raise NotImplementedError

    def replace_head(self, student: Outputs) -> Outputs:
        """The student's outputs with the logits and `head_input` of this method's head on it."""
        raise NotImplementedError

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """A scalar loss. The teacher's outputs carry no gradient.

        Not called unless `in_main_stage`.
        """
        raise NotImplementedError
