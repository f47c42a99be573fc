"""The weights of the named losses in the total, and how the progress line shows them.

    total = gamma * cls + alpha * (a logit distiller's terms, by lw_mix)
          + beta * a feature distiller's loss

A logit distiller's terms are called "div" (one view), "div-oriKLD", "div-mixKLD" (two views) for kd
and "div-NAME", "div-ori-NAME", "div-mix-NAME" for the others; a feature distiller's loss is called
"NAME", on the second view "NAME-view". The cross-entropy with mixed labels, "div-mixCE", counts as
a term of the first logit distiller; a method that has the second view's labels in its own formula
brings "cls-view", with the weight gamma.
"""

from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import torch

Losses = dict[str, torch.Tensor]
"""Named scalar losses of one step."""


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
