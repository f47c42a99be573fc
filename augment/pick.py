"""cutmix_pick: mix the batch several times, keep the views that tell the student most.

H. Wang et al., "What Makes a 'Good' Data Augmentation in Knowledge Distillation - A Statistical Perspective",
NeurIPS 2022, arXiv 2012.02909. The mix mode makes the pool of n_run * B views; `Pick` scores it and keeps the
highest. Which network's logits a criterion needs is written beside it, so nobody runs a network in vain.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from augment.base import Augmented, concatenate, mix_modes
from augment.cutmix import CutMix, CutMixDraw
from helper.registry import Registry


@mix_modes.register("cutmix_pick")
class CutMixPool(CutMix):
    """n_run independent cutmixes of the same batch, one after the other: (n_run * B, 3, H, W)."""

    def sample(self, batch_size: int, generator: torch.Generator) -> list[CutMixDraw]:
        return [
            super(CutMixPool, self).sample(batch_size, generator)
            for _ in range(self.settings.n_run)
        ]

    def apply(self, images: torch.Tensor, draw: list[CutMixDraw]) -> Augmented:
        return concatenate([super(CutMixPool, self).apply(images, one) for one in draw])


class PoolLogits(NamedTuple):
    """What a criterion may look at: logits (P, K) of the pool, (B, K) of the batch it was made from."""

    teacher: torch.Tensor | None
    student: torch.Tensor | None
    teacher_clean: torch.Tensor


class Criterion(NamedTuple):
    """A score (P,) for each view of the pool, higher is kept, and the networks whose pool logits it reads."""

    score: Callable[[PoolLogits, float], torch.Tensor]
    needs_teacher: bool
    needs_student: bool


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of softmax(logits): (P, K) -> (P,). Finite also where a probability underflows."""
    log_probability = F.log_softmax(logits, dim=1)
    return -(log_probability.exp() * log_probability).sum(dim=1)


def kl_to_student(logits: PoolLogits, temperature: float) -> torch.Tensor:
    """KL(teacher || student) at the temperature, without its square: (P,)."""
    log_student = F.log_softmax(logits.student / temperature, dim=1)
    log_teacher = F.log_softmax(logits.teacher / temperature, dim=1)
    return F.kl_div(log_student, log_teacher, log_target=True, reduction="none").sum(dim=1)


def dissimilarity(logits: PoolLogits, temperature: float) -> torch.Tensor:
    """Squared distance of a view's teacher probabilities to those of the nearest original image: (P,).

    No temperature, like the entropies; the argument is there for the common signature.
    """
    pool, clean = logits.teacher.softmax(dim=1), logits.teacher_clean.softmax(dim=1)
    distance = torch.cdist(pool, clean, compute_mode="donot_use_mm_for_euclid_dist")  # (P, B)
    return distance.min(dim=1).values.square()


pick_criteria: Registry[Criterion] = Registry("pick criterion")
pick_criteria.register("kld", Criterion(kl_to_student, needs_teacher=True, needs_student=True))
pick_criteria.register(
    "teacher_entropy",
    Criterion(lambda logits, _: entropy(logits.teacher), needs_teacher=True, needs_student=False),
)
pick_criteria.register(
    "student_entropy",
    Criterion(lambda logits, _: entropy(logits.student), needs_teacher=False, needs_student=True),
)
pick_criteria.register(
    "dissimilarity", Criterion(dissimilarity, needs_teacher=True, needs_student=False)
)


@dataclass(frozen=True)
class Pick:
    """Keeps the `count` views of a pool with the highest score; all of them if the pool is smaller."""

    criterion: Criterion
    count: int
    temperature: float
    """Of the kld criterion."""

    def __call__(self, logits: PoolLogits) -> torch.Tensor:
        """Rows of the pool to keep, lowest score first: (min(P, count),)."""
        scores = self.criterion.score(logits, self.temperature)
        return scores.argsort(stable=True)[-self.count :]
