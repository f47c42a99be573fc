"""Confidence intervals by the delete-one jackknife, for statistics that are functions of sums.

B. Efron and C. Stein, "The jackknife estimate of variance", Annals of Statistics 9, 1981. The
classes of a teacher's probabilities are correlated, so no formula for independent values fits: what
one step less changes does.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from scipy import stats

FEWEST_BLOCKS = 4
"""With fewer the interval says nothing: its ends are NaN."""
CAUTION = 0.8
"""The share of the degrees of freedom that is counted."""
ScaleName = Literal["plain", "log", "fisher"]
SCALES: Mapping[str, tuple[Callable[[torch.Tensor], torch.Tensor], ...]] = {
    "plain": (torch.clone, torch.clone),
    "log": (torch.log, torch.exp),  # for errors in proportion to the value
    "fisher": (torch.atanh, torch.tanh),  # for correlations
}
"""Scales on which errors are more nearly normal, and the way back."""


class Interval(NamedTuple):
    """A value and its confidence interval. `low` and `high` are NaN where there are too few
    steps."""

    value: float
    low: float
    high: float


def jackknife(
    statistic: Callable[[torch.Tensor], torch.Tensor],
    blocks: torch.Tensor,
    confidence: float = 0.95,
    *,
    scale: ScaleName = "plain",
) -> Interval:
    """The statistic of all blocks together, and its interval.

    statistic: sums (..., W) -> (...,). blocks: (n, W) float64, the sums of n disjoint parts of the
    data, one step each or equally many. scale: where the interval is symmetric; plain where it
    cannot be applied, as Fisher's to a correlation of 1.

    The interval is symmetric about the value without the jackknife's estimate of its bias; where it
    would not hold the value, it is widened to. `scripts/rank/coverage.py` measures how often it
    holds the truth.
    """
    total = blocks.sum(dim=0)
    value = statistic(total)
    count = len(blocks)
    if count < FEWEST_BLOCKS or not math.isfinite(value):
        return Interval(float(value), math.nan, math.nan)
    left_out = statistic(total - blocks)  # (n,)
    there, back = SCALES[scale]
    scaled = there(torch.cat([value[None], left_out]))
    if bool(scaled.isfinite().all()):
        low, high = (float(back(end)) for end in _ends(scaled[0], scaled[1:], confidence))
    else:
        low, high = (float(end) for end in _ends(value, left_out, confidence))
    return Interval(float(value), min(low, float(value)), max(high, float(value)))


def _ends(
    value: torch.Tensor, left_out: torch.Tensor, confidence: float
) -> tuple[torch.Tensor, torch.Tensor]:
    count, mean = len(left_out), left_out.mean()
    centre = count * value - (count - 1) * mean  # the bias, of order 1 / n, is gone
    squares = (left_out - mean).square()
    spread = ((count - 1) / count * squares.sum()).sqrt()
    half = t_quantile(confidence, effective_degrees(squares)) * spread
    return centre - half, centre + half


def effective_degrees(squares: torch.Tensor) -> float:
    """Degrees of freedom of a variance, from the squared deviations (n,) that make it up.

    n - 1 for normal ones; fewer the heavier their tails are, since a few deviations then decide
    (F. E. Satterthwaite, Biometrics 2, 1946). `CAUTION` is what synthetic data ask for, see
    coverage.py.
    """
    kurtosis = float(squares.square().mean() / squares.mean().square().clamp(min=1e-300))
    return CAUTION * (len(squares) - 1) * min(1.0, 3 / max(kurtosis, 1.0))


def t_quantile(confidence: float, degrees: float) -> float:
    """Student's t that a value exceeds, on either side, with probability 1 - confidence."""
    return float(stats.t.ppf((1 + confidence) / 2, degrees))


def c4(count: torch.Tensor | float) -> torch.Tensor:
    """The expectation of the standard deviation of `count` normal draws with standard deviation 1;
    2 draws at least.

    N. L. Johnson and B. L. Welch, Biometrika 31, 1939. .952 for 6 draws: short measurements look
    too good.
    """
    count = torch.as_tensor(count, dtype=torch.float64)
    return (2 / (count - 1)).sqrt() * (
        torch.lgamma(count / 2) - torch.lgamma((count - 1) / 2)
    ).exp()
