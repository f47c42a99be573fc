"""A batch on its way through the networks: its second view, the teacher's outputs on both views,
the student's on each."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.distributed as dist
from torch import nn

from augment import Augmentation, Augmented, Pick, PoolLogits
from helper.processes import distributed
from helper.step.networks import frozen_batchnorm_statistics


def logits_of(
    model: nn.Module, images: torch.Tensor, *, amp: bool = False, is_divided: bool = True
) -> torch.Tensor:
    """(B, 3, H, W) -> logits (B, K); with `amp` the network runs in bfloat16 autocast, the logits
    are float32.

    Of several processes each runs its part of the rows, unless `is_divided` is False, and all get
    all logits.
    """
    return outputs_of(model, images, (), amp=amp, is_divided=is_divided)[0]


Features = dict[bool, list[torch.Tensor]]
"""By `preact`: what model(images, is_feat=True, preact=preact) calls its features."""


def outputs_of(
    model: nn.Module,
    images: torch.Tensor,
    preacts: Sequence[bool],
    *,
    amp: bool = False,
    is_divided: bool = True,
) -> tuple[torch.Tensor, Features]:
    """(logits (B, K), the features for each of `preacts`); with `amp` the features may be bfloat16.

    Asked for both kinds of features, the network runs twice; only the first pass updates
    BatchNorm's statistics. Divided among processes like `logits_of`.
    """
    if is_divided and dist.is_initialized():

        def run(rows: torch.Tensor) -> tuple[torch.Tensor, Features]:
            return outputs_of(model, rows, preacts, amp=amp, is_divided=False)

        return distributed.divided(run, images, model)
    features: Features = {}
    # A CUDA graph without a backward pass overwrites what it returned before.
    copies = images.is_cuda and is_compiled(model) and not torch.is_grad_enabled()
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=amp):
        if not preacts:
            logits = model(images)
        else:
            maps, logits = model(images, is_feat=True, preact=preacts[0])
            features[preacts[0]] = [each.clone() for each in maps] if copies else list(maps)
        logits = logits.clone() if copies else logits
        for preact in preacts[1:]:
            with frozen_batchnorm_statistics(model):
                maps, _ = model(images, is_feat=True, preact=preact)
            features[preact] = [each.clone() for each in maps] if copies else list(maps)
    return (logits.float() if amp else logits), features


def is_compiled(model: nn.Module) -> bool:
    """Whether `model.compile()` was called."""
    return model._compiled_call_impl is not None


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


class Observer(Protocol):
    """Looks at a step's images (B, 3, H, W) and views, every `interval` steps from the first one
    on: statistics, pictures.

    step: of the whole run, from 0.
    """

    interval: int

    def __call__(self, step: int, images: torch.Tensor, seen: TwoViews) -> None: ...


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
        if self.own_rows_only:
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


StudentPasses = Callable[..., list[tuple[torch.Tensor, Features]]]
"""(*views, each (P, 3, H, W)) -> (logits (P, K), features) of each, in passes of their own."""


def student_passes(
    student: nn.Module,
    preacts: Sequence[bool] = (),
    *,
    amp: bool = False,
    statistics_of: str = "both",
    both_views: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None = None,
) -> StudentPasses:
    """Each view has a pass of its own, for BatchNorm must see each alone; one autocast casts the
    weights once for all.

    statistics_of: the views, "both" or "first", that update BatchNorm's running statistics.
    both_views: (images, view, amp=) -> logits of both, where helper/speed has something sooner than
    two passes.
    """

    def passes(*views: torch.Tensor) -> list[tuple[torch.Tensor, Features]]:
        if both_views is not None and len(views) == 2:
            return [(logits, {}) for logits in both_views(*views, amp=amp)]
        with torch.autocast(views[0].device.type, dtype=torch.bfloat16, enabled=amp):
            first, *others = views
            results = [outputs_of(student, first, preacts, amp=amp)]
            with hold():
                results += [outputs_of(student, view, preacts, amp=amp) for view in others]
            return results

    hold = contextlib.nullcontext
    if statistics_of == "first":
        hold = functools.partial(frozen_batchnorm_statistics, student)
    return passes
