"""One step of knowledge distillation: images and labels in, named losses out.

    total = gamma * CE(student(x), y)
          + alpha * (LW1 * KD(student(x), teacher(x))
                     + LW2 * CE(student(x'), mixed y) + LW3 * KD(student(x'), target))
          + beta * feature loss(student(x), teacher(x))

x is the batch, x' its second view; LW1, LW2 and LW3 are --lw_mix.

The losses have names. kd's are "div" (one view), "div-oriKLD", "div-mixKLD" (two views); another
logit distiller's are "div-NAME", "div-ori-NAME", "div-mix-NAME". A feature distiller's loss is
"NAME", on the second view "NAME-view". The cross-entropy with mixed labels, "div-mixCE", counts as
a term of the first logit distiller. A method that has the second view's labels in its own formula
brings "cls-view", with the weight gamma.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from augment import Augmentation, Augmented
from distiller_zoo import Batch, FeatureDistiller, LogitDistiller, Outputs, Target
from helper.step.passes import Features, Observer, StudentPasses, TwoViews, ViewMaker, logits_of

Losses = dict[str, torch.Tensor]
"""Named scalar losses of one step."""


class Step(Protocol):
    """The interface of a step to the training loop."""

    weights: "LossWeights"

    def start_epoch(self, epoch: int) -> None:
        """Called before each epoch, counted from 1."""

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor
    ) -> tuple[Losses, torch.Tensor]:
        """The named losses of a batch, and the images' logits (B, K).

        images: (B, 3, H, W). labels: (B,). rows: (B,), the images' places in the training set.
        """
        ...


@dataclass
class DistillStep:
    """Knowledge distillation on a batch and, if there is one, its second view."""

    views: ViewMaker
    student: StudentPasses
    logit: Mapping[str, LogitDistiller]
    """By --distill name; they compare the logits on both views."""
    feature: Mapping[str, FeatureDistiller]
    """By --distill name; they compare features on the first view, and on the second with
    `feature_views`."""
    weights: "LossWeights"
    teacher_target: bool
    """The teacher's own output on the second view is its target; else its outputs on the originals,
    mixed."""
    feature_views: bool = False
    observers: Sequence[Observer] = ()
    steps: int = 0
    """Steps that the run has done; `observers` are told of it."""

    def __post_init__(self) -> None:
        self.terms = {name: logit_terms(name) for name in self.logit}
        self.has_view_labels = any(method.labels_of_view for method in self.logit.values())

    def start_epoch(self, epoch: int) -> None:
        self.views.start_epoch(epoch)
        for method in (*self.logit.values(), *self.feature.values()):
            method.start_epoch(epoch)

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor
    ) -> tuple[Losses, torch.Tensor]:
        seen = self.views(images)
        for observer in self.observers:
            if self.steps % observer.interval == 0:
                observer(self.steps, images, seen)
        self.steps += 1
        view, batch = seen.view, Batch(Target(labels), rows)
        if view is None:
            (outputs,) = self.student(images)
            student = self._read(*outputs)
            return self._losses(student, seen, batch), student.logits
        outputs, outputs_view = self.student(images, view.images)
        student, student_view = self._read(*outputs), self._read(*outputs_view)
        view_batch = Batch(target_of(view, labels), view.own(rows), is_clean=False)
        losses = self._losses(student, seen, batch)
        on_view = self._view_losses(student_view, seen, view, view_batch)
        return losses | on_view, student.logits

    def _read(self, logits: torch.Tensor, features: Features) -> "StudentOutputs":
        """The student's outputs as each method reads them; one of them may replace the head."""
        by_method, own = {}, logits
        for name, method in self.feature.items():
            by_method[name] = Outputs(own, features[method.preact])
            if method.changes_head:
                by_method[name] = method.replace_head(by_method[name])
                logits = by_method[name].logits
        return StudentOutputs(logits, by_method)

    def _losses(self, student: "StudentOutputs", seen: TwoViews, batch: Batch) -> Losses:
        """The losses on the batch itself."""
        losses = {"cls": F.cross_entropy(student.logits, batch.target.own)}
        for name, method in self.logit.items():
            whole, on_clean, _ = self.terms[name]
            term = whole if seen.view is None else on_clean
            losses[term] = method(student.logits, seen.teacher_clean, batch.target)
        for name, method in self.feature.items():
            teacher = Outputs(seen.teacher_clean, seen.features_clean[method.teacher_preact])
            losses[name] = method(student.by_method[name], teacher, batch)
        return losses

    def _view_losses(
        self, student: "StudentOutputs", seen: TwoViews, view: Augmented, batch: Batch
    ) -> Losses:
        """The losses on the second view."""
        losses = {}
        target = seen.view_logits if self.teacher_target else view.mix(seen.teacher_clean)
        for name, method in self.logit.items():
            on_view = self.terms[name][2]
            losses[on_view] = method.second_view(student.logits, target, batch.target)
        if self.has_view_labels:
            losses["cls-view"] = cross_entropy(student.logits, batch.target)
        if self.weights.factors.get("div-mixCE"):
            losses["div-mixCE"] = cross_entropy(student.logits, batch.target)
        if self.feature_views:
            for name, method in self.feature.items():
                teacher = Outputs(seen.view_logits, seen.features_view[method.teacher_preact])
                losses[f"{name}-view"] = method(student.by_method[name], teacher, batch)
        return losses


class StudentOutputs(NamedTuple):
    """The student's outputs on one view."""

    logits: torch.Tensor
    """(P, K), from a distiller's head where one replaces the student's."""
    by_method: dict[str, Outputs]
    """As each feature distiller reads them."""


class ShownTerm(NamedTuple):
    """One "loss_TITLE(*FACTOR) VALUE" of the progress line; VALUE is the sum of the parts that a
    step has."""

    title: str
    factor: float
    parts: dict[str, float]
    """Loss name -> its share within VALUE."""


class LossWeights(NamedTuple):
    """Flat weights, loss name -> factor in the total, and the same as the progress line shows
    them."""

    factors: dict[str, float]
    shown: list[ShownTerm]

    def total(self, losses: Losses) -> torch.Tensor:
        return reduce(torch.add, [self.factors[name] * losses[name] for name in losses])


def logit_terms(name: str) -> tuple[str, str, str]:
    """The names of a logit distiller's loss: without a second view; with one, on x and on x'."""
    if name == "kd":  # the names that people grep for
        return "div", "div-oriKLD", "div-mixKLD"
    return f"div-{name}", f"div-ori-{name}", f"div-mix-{name}"


def loss_weights(
    gamma: float = 1.0,
    logit: Mapping[str, float] | None = None,
    feature: Mapping[str, float] | None = None,
    *,
    lw_mix: tuple[float, float, float] | None = None,
) -> LossWeights:
    """The weights of a run's losses.

    logit, feature: --distill name -> alpha or beta.
    lw_mix: factors of (x, mixed labels, x'); None without a second view.
    """
    factors = {"cls": gamma, "cls-view": gamma}
    shown = [ShownTerm(name, gamma, {name: 1.0}) for name in factors]
    clean, labels, view = lw_mix or (1.0, 0.0, 0.0)
    for number, (name, alpha) in enumerate((logit or {}).items()):
        whole, on_clean, on_view = logit_terms(name)
        parts = {on_clean: clean}
        if number == 0:
            parts["div-mixCE"] = labels
        parts[on_view] = view
        factors |= {whole: alpha} | {part: alpha * share for part, share in parts.items()}
        shown += [ShownTerm(part, share, {part: 1.0}) for part, share in parts.items()]
        shown.append(ShownTerm(whole, alpha, {whole: 1.0} | parts))
    for suffix in ("", "-view"):
        for name, beta in (feature or {}).items():
            factors[name + suffix] = beta
            shown.append(ShownTerm(name + suffix, beta, {name + suffix: 1.0}))
    return LossWeights(factors, shown)


@dataclass
class LabelStep:
    """Supervised training, on the batch or, with a mix mode, on its second view in place of it."""

    model: nn.Module
    augment: Augmentation | None
    generator: torch.Generator
    weights: LossWeights = field(default_factory=loss_weights)
    amp: bool = False
    label_smoothing: float = 0.0

    def start_epoch(self, epoch: int) -> None:
        if self.augment is not None:
            self.augment.start_epoch(epoch)

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor
    ) -> tuple[Losses, torch.Tensor]:
        view = Augmented(images) if self.augment is None else self.augment(images, self.generator)
        logits = logits_of(self.model, view.images, amp=self.amp)
        loss = cross_entropy(logits, target_of(view, labels), label_smoothing=self.label_smoothing)
        return {"cls": loss}, logits


def target_of(view: Augmented, labels: torch.Tensor) -> Target:
    """The labels of a view's images; labels: (B,) of the batch it was made from."""
    partner = None if view.partner is None else labels[view.partner]
    return Target(view.own(labels), partner, view.lam, view.shares)


def cross_entropy(
    logits: torch.Tensor, target: Target, *, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Mean of lam * CE(own label) + (1 - lam) * CE(partner's label); plain CE where nothing is
    mixed.

    `label_smoothing`: the share of each label's probability that all K classes get alike.
    """
    return target.average(
        lambda labels: F.cross_entropy(
            logits, labels, reduction="none", label_smoothing=label_smoothing
        )
    )
