"""One optimisation step, as the README states the loss, and the teacher's view of a batch.

The step holds no option and writes no log: images and labels in, named losses out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from augment import Augmentation, Augmented, Pick, PoolLogits
from helper.networks import frozen_batchnorm_statistics, logits_of

Losses = dict[str, torch.Tensor]


@dataclass(frozen=True)
class LossWeights:
    """total = gamma * cls + alpha * (div, or the three div terms by lw_mix) + beta * feature losses."""

    gamma: float
    alpha: float
    beta: float = 0.0
    lw_mix: tuple[float, float, float] | None = None

    def total(self, losses: Losses) -> torch.Tensor:
        return sum(self.of(name) * loss for name, loss in losses.items())

    def of(self, name: str) -> float:
        """The factor of one named loss in the total."""
        if name == "cls":
            return self.gamma
        return self.alpha * self.within_div(name) if name.startswith("div") else self.beta

    def within_div(self, name: str) -> float:
        """The factor of one term within the distillation loss; alpha multiplies them all."""
        terms = ("div-oriKLD", "div-mixCE", "div-mixKLD")
        return self.lw_mix[terms.index(name)] if name in terms else 1.0


@dataclass
class TwoViews:
    """What the frozen side knows of a batch: the second view and the teacher's logits of both."""

    view: Augmented | None
    teacher_clean: torch.Tensor
    """(B, K)"""
    teacher_view: torch.Tensor | None
    """(P, K); None if there is no second view or the teacher did not need to see it."""


Observer = Callable[[torch.Tensor, TwoViews], None]
"""Looks at each step's images and views: statistics, pictures."""


@dataclass
class ViewMaker:
    """Makes the second view and shows it to the teacher. Training and the T. stddev pass share it."""

    teacher: nn.Module
    augment: Augmentation | None
    generator: torch.Generator
    pick: Pick | None = None
    student: nn.Module | None = None
    """Only where the pick's criterion asks for it."""
    teacher_sees_view: bool = True
    amp: bool = False

    def start_epoch(self, epoch: int) -> None:
        if self.augment is not None:
            self.augment.start_epoch(epoch)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> TwoViews:
        """images: (B, 3, H, W). The teacher sees both views, and a pool to pick from, in one forward pass."""
        if self.augment is None:
            return TwoViews(None, logits_of(self.teacher, images, amp=self.amp), None)
        view = self.augment(images, self.generator)
        needs_teacher = self.teacher_sees_view or (
            self.pick is not None and self.pick.criterion.needs_teacher
        )
        seen = torch.cat([images, view.images]) if needs_teacher else images
        clean, of_view = logits_of(self.teacher, seen, amp=self.amp).split(
            [len(images), len(seen) - len(images)]
        )
        teacher_view = of_view if needs_teacher else None
        if self.pick is not None:
            keep = self.pick(PoolLogits(teacher_view, self._student_scores(view), clean))
            view = view.take(keep)
            teacher_view = None if teacher_view is None else teacher_view[keep]
        return TwoViews(view, clean, teacher_view)

    def _student_scores(self, pool: Augmented) -> torch.Tensor | None:
        if not self.pick.criterion.needs_student:
            return None
        with frozen_batchnorm_statistics(self.student):
            return logits_of(self.student, pool.images, amp=self.amp)


class Step(Protocol):
    """What the training loop asks of a step."""

    weights: LossWeights

    def start_epoch(self, epoch: int) -> None:
        """Told before each epoch, counted from 1."""

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[Losses, torch.Tensor]:
        """images: (B, 3, H, W), labels: (B,). Returns the named losses and the logits (B, K)."""


@dataclass
class DistillStep:
    """Knowledge distillation on a batch and its second view."""

    views: ViewMaker
    student: nn.Module
    distiller: nn.Module
    weights: LossWeights
    teacher_target: bool
    """The teacher's own output on the second view is its target; else its outputs on the originals, mixed."""
    amp: bool = False
    observers: Sequence[Observer] = ()

    def start_epoch(self, epoch: int) -> None:
        self.views.start_epoch(epoch)

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[Losses, torch.Tensor]:
        """images: (B, 3, H, W), labels: (B,). Returns the named losses and the student's logits (B, K).

        The student sees the two views in two forward passes, so that BatchNorm's statistics do not mix them.
        """
        seen = self.views(images)
        for observe in self.observers:
            observe(images, seen)
        logits = logits_of(self.student, images, amp=self.amp)
        losses = {"cls": F.cross_entropy(logits, labels)}
        if seen.view is None:
            losses["div"] = self.distiller(logits, seen.teacher_clean)
            return losses, logits
        view_logits = logits_of(self.student, seen.view.images, amp=self.amp)
        target = seen.teacher_view if self.teacher_target else seen.view.mix(seen.teacher_clean)
        losses["div-oriKLD"] = self.distiller(logits, seen.teacher_clean)
        if self.weights.within_div("div-mixCE"):
            losses["div-mixCE"] = mixed_cross_entropy(view_logits, labels, seen.view)
        losses["div-mixKLD"] = self.distiller(view_logits, target)
        return losses, logits


@dataclass
class LabelStep:
    """Supervised training, on the batch or, with a mix mode, on its second view in place of it."""

    model: nn.Module
    augment: Augmentation | None
    generator: torch.Generator
    weights: LossWeights = LossWeights(gamma=1.0, alpha=0.0)
    amp: bool = False

    def start_epoch(self, epoch: int) -> None:
        if self.augment is not None:
            self.augment.start_epoch(epoch)

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[Losses, torch.Tensor]:
        """images: (B, 3, H, W), labels: (B,). Returns the named losses and the logits (B, K)."""
        view = Augmented(images) if self.augment is None else self.augment(images, self.generator)
        logits = logits_of(self.model, view.images, amp=self.amp)
        return {"cls": mixed_cross_entropy(logits, labels, view)}, logits


def mixed_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, view: Augmented) -> torch.Tensor:
    """Mean of lam * CE(own label) + (1 - lam) * CE(partner's label); plain CE where nothing is mixed.

    logits: (P, K) of the view, labels: (B,) of the batch it was made from.
    """
    if view.partner is None:
        return F.cross_entropy(logits, view.own(labels))
    own = F.cross_entropy(logits, view.own(labels), reduction="none")
    other = F.cross_entropy(logits, labels[view.partner], reduction="none")
    return (view.lam * own + (1 - view.lam) * other).mean()
