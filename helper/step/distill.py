"""One optimisation step, as the README states the loss, and the teacher's view of a batch.

The step holds no option and writes no log: images and labels in, named losses out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from augment import Augmentation, Augmented, Pick, PoolLogits
from distiller_zoo import Batch, FeatureDistiller, LogitDistiller, Outputs, Target
from helper.processes import distributed
from helper.speed.both_views import BothViews
from helper.step.networks import Features, frozen_batchnorm_statistics, logits_of, outputs_of

Losses = dict[str, torch.Tensor]


class LossWeights:
    """total = gamma * cls + alpha * (a logit distiller's terms, by lw_mix) + beta * a feature distiller's loss.

    `logit` and `feature`: each distiller's weight, alpha or beta, by its --distill name. Each loss in the total
    has a name. A logit distiller's are those of `terms`; a feature distiller's begin with its own: "crd",
    "crd-view". The mixed-label cross-entropy "div-mixCE" counts as a term of the first logit distiller.
    """

    def __init__(
        self,
        gamma: float = 1.0,
        logit: Mapping[str, float] | None = None,
        feature: Mapping[str, float] | None = None,
        lw_mix: tuple[float, float, float] | None = None,
    ) -> None:
        self.gamma, self.lw_mix = gamma, lw_mix
        self.logit, self.feature = dict(logit or {}), dict(feature or {})
        self.parts = {"cls": (gamma, 1.0)} | {
            name: (beta, 1.0) for name, beta in self.feature.items()
        }
        """Loss name -> (factor of its group in the total, factor within the group)."""
        clean, labels, view = lw_mix or (1.0, 0.0, 0.0)
        for name, alpha in self.logit.items():
            whole, on_clean, on_view = self.terms(name)
            self.parts |= {whole: (alpha, 1.0), on_clean: (alpha, clean), on_view: (alpha, view)}
            self.parts.setdefault("div-mixCE", (alpha, labels))

    @staticmethod
    def terms(name: str) -> tuple[str, str, str]:
        """What a logit distiller's loss is called: without a second view, and with one on x and on x'."""
        if name == "kd":  # the names that people grep for
            return "div", "div-oriKLD", "div-mixKLD"
        return f"div-{name}", f"div-ori-{name}", f"div-mix-{name}"

    def total(self, losses: Losses) -> torch.Tensor:
        return sum(self.of(name) * loss for name, loss in losses.items())

    def of(self, name: str) -> float:
        """The factor of one named loss in the total."""
        group, within = self.factors(name)
        return group * within

    def factors(self, name: str) -> tuple[float, float]:
        """(factor of the loss's group in the total, factor within the group)."""
        return self.parts[name if name in self.parts else name.split("-")[0]]


@dataclass
class TwoViews:
    """What the frozen side knows of a batch: the second view and the teacher's logits of both."""

    view: Augmented | None
    teacher_clean: torch.Tensor
    """(B, K)"""
    teacher_view: torch.Tensor | None
    """(P, K); None if there is no second view or the teacher did not need to see it."""
    features_clean: Features = field(default_factory=dict)
    features_view: Features = field(default_factory=dict)
    """The teacher's features, as far as a distiller reads them."""


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
    preacts: Sequence[bool] = ()
    """Which features of the teacher are wanted."""
    features_of_view: bool = False
    """Whether they are wanted of the second view too; then the teacher must see it."""
    amp: bool = False
    own_rows_only: bool = False
    """Of several processes, each to see its own rows of both views, for what can be added up later; no pick then."""

    def start_epoch(self, epoch: int) -> None:
        if self.augment is not None:
            self.augment.start_epoch(epoch)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> TwoViews:
        """images: (B, 3, H, W). The teacher sees both views, and a pool to pick from, in one forward pass."""
        view = None if self.augment is None else self.augment(images, self.generator)
        if self.own_rows_only:
            mine = torch.arange(len(images), device=images.device)[distributed.part(len(images))]
            images, view = images[mine], None if view is None else view.take(mine)
        if view is None:
            return self._first_view_alone(images)
        needs_teacher = self.teacher_sees_view or (
            self.pick is not None and self.pick.criterion.needs_teacher
        )
        seen = torch.cat([images, view.images]) if needs_teacher else images
        logits, features = self._teacher_says(seen)
        clean, of_view = logits.split([len(images), len(seen) - len(images)])
        teacher_view, keep = (of_view if needs_teacher else None), slice(None)
        if self.pick is not None:
            keep = self.pick(PoolLogits(teacher_view, self._student_scores(view), clean))
            view = view.take(keep)
            teacher_view = None if teacher_view is None else teacher_view[keep]
        features_view = (
            select(features, lambda f: f[len(images) :][keep]) if self.features_of_view else {}
        )
        features_clean = select(features, lambda f: f[: len(images)])
        return TwoViews(view, clean, teacher_view, features_clean, features_view)

    def _first_view_alone(self, images: torch.Tensor) -> TwoViews:
        logits, features = self._teacher_says(images)
        return TwoViews(None, logits, None, features)

    def _teacher_says(self, images: torch.Tensor) -> tuple[torch.Tensor, Features]:
        if not len(
            images
        ):  # of a batch smaller than the number of processes; networks take no empty batch
            logits, _ = self._teacher_says(images.new_zeros(1, *images.shape[1:]))
            return logits[:0], {}
        return outputs_of(
            self.teacher, images, self.preacts, amp=self.amp, is_divided=not self.own_rows_only
        )

    def _student_scores(self, pool: Augmented) -> torch.Tensor | None:
        if not self.pick.criterion.needs_student:
            return None
        with frozen_batchnorm_statistics(self.student):
            return logits_of(self.student, pool.images, amp=self.amp)


def select(features: Features, rows: Callable[[torch.Tensor], torch.Tensor]) -> Features:
    """The same rows of every feature."""
    return {preact: [rows(feature) for feature in values] for preact, values in features.items()}


class Step(Protocol):
    """What the training loop asks of a step."""

    weights: LossWeights
    replicated: Sequence[nn.Parameter]
    """What each of several processes trains on the whole batch, in contrast to the network."""

    def start_epoch(self, epoch: int) -> None:
        """Told before each epoch, counted from 1."""

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor
    ) -> Iterator[tuple[Losses, torch.Tensor]]:
        """images: (B, 3, H, W), labels, rows: (B,). Yields named losses and, each time, the images' logits (B, K).

        Each part's backward pass is to run before the next part is asked for. `rows` are the images' places in the
        training set.
        """


@dataclass
class DistillStep:
    """Knowledge distillation on a batch and its second view."""

    views: ViewMaker
    student: nn.Module
    logit: Mapping[str, LogitDistiller]
    """By --distill name; they compare the logits on both views."""
    feature: Mapping[str, FeatureDistiller]
    """By --distill name; they compare features on the first view, and on the second with `feature_views`."""
    weights: LossWeights
    teacher_target: bool
    """The teacher's own output on the second view is its target; else its outputs on the originals, mixed."""
    feature_views: bool = False
    amp: bool = False
    observers: Sequence[Observer] = ()
    in_turn: bool = False
    """Each view's backward pass before the student sees the next: half of the memory, and the same gradients."""
    gradients: Mapping[nn.Parameter, torch.Tensor] = field(default_factory=dict)
    """Memory for the gradients of parameters that take part in every loss. Made before the first step it lies apart;
    made in a step it would lie scattered among the activations' memory, which then cannot be used whole again."""
    both_views: BothViews | None = None
    """The student on both views at once, where that is sooner than one after the other and only its logits are wanted."""

    @property
    def replicated(self) -> list[nn.Parameter]:
        return [
            p
            for method in (*self.logit.values(), *self.feature.values())
            for p in method.parameters()
        ]

    def start_epoch(self, epoch: int) -> None:
        self.views.start_epoch(epoch)
        for method in (*self.logit.values(), *self.feature.values()):
            method.start_epoch(epoch)

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor
    ) -> Iterator[tuple[Losses, torch.Tensor]]:
        """See `Step`: the losses on both views together or, `in_turn`, one view's after the other's."""
        for parameter, gradient in self.gradients.items():
            parameter.grad = gradient.zero_()
        seen = self.views(images)
        for observe in self.observers:
            observe(images, seen)
        view, batch = seen.view, Batch(Target(labels), rows)
        if view is None:
            (student,) = self._student_sees(images)
            yield self._losses(student, seen, batch), student[""].logits
            return
        view_batch = Batch(target_of(view, labels), view.own(rows), is_clean=False)
        if self.in_turn:
            (student,) = self._student_sees(images)
            logits = student[""].logits
            yield self._losses(student, seen, batch), logits
            del student  # its features
            (student_view,) = self._student_sees(view.images)
            if on_view := self._losses_on_view(student_view, seen, view_batch):
                yield on_view, logits
        else:
            student, student_view = self._student_sees(images, view.images)
            losses = self._losses(student, seen, batch)
            yield losses | self._losses_on_view(student_view, seen, view_batch), student[""].logits

    def _student_sees(self, *views: torch.Tensor) -> list[dict[str, Outputs]]:
        """What the student says to each view, for each feature distiller by name, and under "" its logits.

        A pass for each, for BatchNorm sees each view alone; in one autocast, which casts the weights once for all.
        The logits are a distiller's where it replaces the student's head.
        """
        if self.both_views is not None and len(views) == 2:
            return [{"": Outputs(logits)} for logits in self.both_views(*views, amp=self.amp)]
        preacts = sorted({method.preact for method in self.feature.values()})
        with torch.autocast(views[0].device.type, dtype=torch.bfloat16, enabled=self.amp):
            said = [outputs_of(self.student, view, preacts, amp=self.amp) for view in views]
        return [self._heard(*outputs) for outputs in said]

    def _heard(self, logits: torch.Tensor, features: Features) -> dict[str, Outputs]:
        outputs = {"": Outputs(logits)} | outputs_for(self.feature, logits, features)
        for name, method in self.feature.items():
            if method.changes_head:
                outputs[name] = outputs[""] = method.replace_head(outputs[name])
        return outputs

    def _losses(self, student: Mapping[str, Outputs], seen: TwoViews, batch: Batch) -> Losses:
        """On the batch itself."""
        logits = student[""].logits
        losses = {"cls": F.cross_entropy(logits, batch.target.own)}
        for name, method in self.logit.items():
            whole, of_clean, _ = self.weights.terms(name)
            term = whole if seen.view is None else of_clean
            losses[term] = method(logits, seen.teacher_clean, batch.target)
        teacher = outputs_of_teacher(self.feature, seen.teacher_clean, seen.features_clean)
        return losses | self._feature_losses(student, teacher, batch)

    def _losses_on_view(
        self, student: Mapping[str, Outputs], seen: TwoViews, batch: Batch
    ) -> Losses:
        logits, losses = student[""].logits, {}
        target = seen.teacher_view if self.teacher_target else seen.view.mix(seen.teacher_clean)
        for name, method in self.logit.items():
            _, _, of_view = self.weights.terms(name)
            losses[of_view] = method.second_view(logits, target, batch.target)
        if any(method.labels_of_view for method in self.logit.values()):
            losses["cls-view"] = cross_entropy(logits, batch.target)
        if self.logit and self.weights.of("div-mixCE"):
            losses["div-mixCE"] = cross_entropy(logits, batch.target)
        if self.feature_views:
            teacher = outputs_of_teacher(self.feature, seen.teacher_view, seen.features_view)
            on_view = self._feature_losses(student, teacher, batch)
            losses |= {f"{name}-view": loss for name, loss in on_view.items()}
        return losses

    def _feature_losses(
        self, student: Mapping[str, Outputs], teacher: Mapping[str, Outputs], batch: Batch
    ) -> Losses:
        """Of one view."""
        losses = {}
        for name, method in self.feature.items():
            losses[name] = method(student[name], teacher[name], batch)
        return losses


def outputs_for(
    methods: Mapping[str, FeatureDistiller], logits: torch.Tensor, features: Features
) -> dict[str, Outputs]:
    """The student's outputs as each of the methods reads them."""
    return {name: Outputs(logits, features[method.preact]) for name, method in methods.items()}


def outputs_of_teacher(
    methods: Mapping[str, FeatureDistiller], logits: torch.Tensor, features: Features
) -> dict[str, Outputs]:
    """The teacher's outputs as each of the methods reads them."""
    return {
        name: Outputs(logits, features[method.teacher_preact]) for name, method in methods.items()
    }


@dataclass
class LabelStep:
    """Supervised training, on the batch or, with a mix mode, on its second view in place of it."""

    model: nn.Module
    augment: Augmentation | None
    generator: torch.Generator
    weights: LossWeights = field(default_factory=LossWeights)
    amp: bool = False
    replicated: Sequence[nn.Parameter] = ()

    def start_epoch(self, epoch: int) -> None:
        if self.augment is not None:
            self.augment.start_epoch(epoch)

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor
    ) -> Iterator[tuple[Losses, torch.Tensor]]:
        """See `Step`: one part."""
        view = Augmented(images) if self.augment is None else self.augment(images, self.generator)
        logits = logits_of(self.model, view.images, amp=self.amp)
        yield {"cls": cross_entropy(logits, target_of(view, labels))}, logits


def target_of(view: Augmented, labels: torch.Tensor) -> Target:
    """The labels of a view's images; labels: (B,) of the batch it was made from."""
    partner = None if view.partner is None else labels[view.partner]
    return Target(view.own(labels), partner, view.lam, view.shares)


def cross_entropy(logits: torch.Tensor, target: Target) -> torch.Tensor:
    """Mean of lam * CE(own label) + (1 - lam) * CE(partner's label); plain CE where nothing is mixed."""
    return target.average(lambda labels: F.cross_entropy(logits, labels, reduction="none"))
