"""Picks: augment the batch several times, keep the views that tell the student most.

H. Wang et al., "What Makes a 'Good' Data Augmentation in Knowledge Distillation - A Statistical
Perspective", NeurIPS 2022, arXiv 2012.02909. A stage makes the pool of n_run * B views; `Pick`
scores it and keeps the highest. Which network's logits a criterion needs is written beside it, so
no network runs without need.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from augment.base import Augmentation, Augmented, MixSettings, concatenate, mix_modes
from augment.cutmix import CutMix
from augment.geometric import Identity
from augment.keys import Value, key
from augment.mixup import MixUp
from dataset.spec import DatasetSpec
from helper.registry import Registry


class PoolLogits(NamedTuple):
    """The input of a criterion: logits (P, K) of the pool, (B, K) of the batch behind it."""

    teacher: torch.Tensor | None
    student: torch.Tensor | None
    teacher_clean: torch.Tensor


class Criterion(NamedTuple):
    """A score (P,) for each view of the pool, and the networks whose pool logits it reads.

    Higher is kept.
    """

    score: Callable[[PoolLogits, float], torch.Tensor]
    needs_teacher: bool
    needs_student: bool


def given(logits: torch.Tensor | None) -> torch.Tensor:
    """Logits that a criterion has asked for."""
    assert logits is not None
    return logits


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of softmax(logits): (P, K) -> (P,).

    Finite also where a probability underflows.
    """
    log_probability = F.log_softmax(logits, dim=1)
    return -(log_probability.exp() * log_probability).sum(dim=1)


def kl_to_student(logits: PoolLogits, temperature: float) -> torch.Tensor:
    """KL(teacher || student) at the temperature, without its square: (P,)."""
    log_student = F.log_softmax(given(logits.student) / temperature, dim=1)
    log_teacher = F.log_softmax(given(logits.teacher) / temperature, dim=1)
    return F.kl_div(log_student, log_teacher, log_target=True, reduction="none").sum(dim=1)


def dissimilarity(logits: PoolLogits, temperature: float) -> torch.Tensor:
    """Squared distance (P,) of a view's teacher probabilities to the nearest original image's.

    No temperature, like the entropies; the argument is there for the common signature.
    """
    pool, clean = given(logits.teacher).softmax(dim=1), logits.teacher_clean.softmax(dim=1)
    distance = torch.cdist(pool, clean, compute_mode="donot_use_mm_for_euclid_dist")  # (P, B)
    return distance.min(dim=1).values.square()


pick_criteria: Registry[Criterion] = Registry("pick criterion")
pick_criteria.register("kld", Criterion(kl_to_student, needs_teacher=True, needs_student=True))
pick_criteria.register(
    "teacher_entropy",
    Criterion(
        lambda logits, _: entropy(given(logits.teacher)), needs_teacher=True, needs_student=False
    ),
)
pick_criteria.register(
    "student_entropy",
    Criterion(
        lambda logits, _: entropy(given(logits.student)), needs_teacher=False, needs_student=True
    ),
)
pick_criteria.register(
    "dissimilarity", Criterion(dissimilarity, needs_teacher=True, needs_student=False)
)


@dataclass(frozen=True)
class Pick:
    """Keeps the `count` views of a pool with the highest score, or all of a smaller pool."""

    criterion: Criterion
    count: int
    temperature: float
    """Used by the kld criterion."""

    def __call__(self, logits: PoolLogits) -> torch.Tensor:
        """Rows of the pool to keep, lowest score first: (min(P, count),)."""
        scores = self.criterion.score(logits, self.temperature)
        return scores.argsort(stable=True)[-self.count :]


class Pool(Augmentation):
    """The first half of a pick: n_run independent views of the same batch, one after the other.

    Mixed into a stage's class, before it. The view has n_run * B images.
    """

    paper = "Wang 2022, arXiv 2012.02909"

    n_run = key(2, 2, 64, "views of the batch in the pool", flag="mix_n_run")
    n_pick = key(None, 1, 10**6, "views kept; the batch size", kind=int, flag="n_pick")
    criterion = key(
        "kld", choices=pick_criteria, help="what ranks them", flag="cutmix_pick_criterion"
    )

    def sample(self, batch_size: int, generator: torch.Generator) -> list[Any]:
        return [super(Pool, self).sample(batch_size, generator) for _ in range(self.n_run)]

    def apply(self, images: torch.Tensor, draw: list[Any]) -> Augmented:
        return concatenate([super(Pool, self).apply(images, one) for one in draw])


@mix_modes.register("cutmix_pick")
class CutMixPool(Pool, CutMix):
    """The views of several cutmixes that tell the student most: cutmix+pick."""


@mix_modes.register("mixup_pick")
class MixUpPool(Pool, MixUp):
    """The same of several mixups: mixup+pick."""


class InnerChain(Augmentation):
    """The stages before a pick, as one. The chain sets `inner`; alone it is the batch itself."""

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        self.inner: Augmentation = Identity(spec, settings)

    def start_epoch(self, epoch: int) -> None:
        self.inner.start_epoch(epoch)

    def sample(self, batch_size: int, generator: torch.Generator) -> Any:
        return self.inner.sample(batch_size, generator)

    def apply(self, images: torch.Tensor, draw: Any) -> Augmented:
        return self.inner.apply(images, draw)


@mix_modes.register("pick")
class PoolOfChain(Pool, InnerChain):
    """The same of all that stands before it, such as autoaugment+cutmix+pick."""
