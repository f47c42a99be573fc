"""The second view of a batch, and the teacher's outputs on both views."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from augment import Augmentation, Augmented, Pick, PoolLogits
from helper.processes import distributed
from helper.step.networks import Features, frozen_batchnorm_statistics, logits_of, outputs_of


@dataclass
class TwoViews:
    """A batch's second view, and the teacher's outputs on both views."""

    view: Augmented | None
    """None: there is no second view."""
    teacher_clean: torch.Tensor
    """(B, K) logits of the first view."""
    teacher_view: torch.Tensor | None
    """(P, K) logits; None if there is no second view or the teacher did not need to see it."""
    features_clean: Features = field(default_factory=dict)
    features_view: Features = field(default_factory=dict)
    """The teacher's features, as far as a distiller reads them."""

    @property
    def view_logits(self) -> torch.Tensor:
        """`teacher_view`, where the teacher saw the view."""
        assert self.teacher_view is not None
        return self.teacher_view


Observer = Callable[[torch.Tensor, TwoViews], None]
"""Looks at each step's images (B, 3, H, W) and views: statistics, pictures."""


@dataclass
class ViewMaker:
    """Makes the second view and shows it to the teacher.

    Training and the T. stddev pass share it.
    """

    teacher: nn.Module
    augment: Augmentation | None
    generator: torch.Generator
    pick: Pick | None = None
    student: nn.Module | None = None
    """Needed only where the pick's criterion asks for it."""
    teacher_sees_view: bool = True
    preacts: Sequence[bool] = ()
    """Which features of the teacher are wanted."""
    features_of_view: bool = False
    """Whether they are wanted of the second view too; then the teacher must see it."""
    amp: bool = False
    own_rows_only: bool = False
    """Each of several processes sees its own rows of both views alone, for sums that are added up
    later; no pick then."""

    def start_epoch(self, epoch: int) -> None:
        if self.augment is not None:
            self.augment.start_epoch(epoch)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> TwoViews:
        """images: (B, 3, H, W).

        The teacher sees both views, and a pool to pick from, in one forward pass.
        """
        view = None if self.augment is None else self.augment(images, self.generator)
        if self.own_rows_only and distributed.size() > 1:
            images, view = own_rows(images, view)
        if view is None:
            logits, features = self._teacher_outputs(images)
            return TwoViews(None, logits, None, features)
        shows_view = self.teacher_sees_view or (
            self.pick is not None and self.pick.criterion.needs_teacher
        )
        logits, features = self._teacher_outputs(
            torch.cat([images, view.images]) if shows_view else images
        )
        clean, teacher_view = logits[: len(images)], logits[len(images) :] if shows_view else None
        keep: torch.Tensor | slice = slice(None)
        if self.pick is not None:
            scores = self._student_scores(view) if self.pick.criterion.needs_student else None
            keep = self.pick(PoolLogits(teacher_view, scores, clean))
            view = view.take(keep)
            teacher_view = None if teacher_view is None else teacher_view[keep]
        if not features:
            return TwoViews(view, clean, teacher_view)
        features_clean = select(features, lambda f: f[: len(images)])
        features_view = (
            select(features, lambda f: f[len(images) :][keep]) if self.features_of_view else {}
        )
        return TwoViews(view, clean, teacher_view, features_clean, features_view)

    def _teacher_outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, Features]:
        if not len(
            images
        ):  # a batch smaller than the number of processes; networks take no empty batch
            logits, _ = self._teacher_outputs(images.new_zeros(1, *images.shape[1:]))
            return logits[:0], {}
        return outputs_of(
            self.teacher, images, self.preacts, amp=self.amp, is_divided=not self.own_rows_only
        )

    def _student_scores(self, pool: Augmented) -> torch.Tensor:
        assert self.student is not None
        with frozen_batchnorm_statistics(self.student):
            return logits_of(self.student, pool.images, amp=self.amp)


def own_rows(images: torch.Tensor, view: Augmented | None) -> tuple[torch.Tensor, Augmented | None]:
    """The part of both views that this process sees."""
    rows = torch.arange(len(images), device=images.device)[distributed.part(len(images))]
    return images[rows], None if view is None else view.take(rows)


def select(features: Features, rows: Callable[[torch.Tensor], torch.Tensor]) -> Features:
    """The same rows of every feature."""
    return {preact: [rows(feature) for feature in values] for preact, values in features.items()}
