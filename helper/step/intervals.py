"""Confidence intervals by the delete-one jackknife, for statistics that are functions of sums.

B. Efron and C. Stein, "The jackknife estimate of variance", Annals of Statistics 9, 1981. The
classes of a teacher's probabilities are correlated, so no formula for independent values fits: what
one step less changes does.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy import stats

FEWEST_BLOCKS = 4
"""With fewer the interval says nothing: its ends are NaN."""


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
    logarithmic: bool = False,
) -> Interval:
    """The statistic of all blocks together, and its interval.

    statistic: sums (..., W) -> (...,). blocks: (n, W) float64, the sums of n disjoint parts of the
    data, one step each or equally many. logarithmic: for a positive statistic whose error is
    proportional to its value.

    The interval is symmetric about the value without the jackknife's estimate of its bias, on the
    logarithm's scale if asked for, with Student's t of n - 1 degrees of freedom; where it would not
    hold the value, it is widened to. `scripts/rank/coverage.py` measures how often it holds the
    truth.
    """
    total = blocks.sum(dim=0)
    value = float(statistic(total))
    count = len(blocks)
    if count < FEWEST_BLOCKS or not math.isfinite(value):
        return Interval(value, math.nan, math.nan)
    left_out = statistic(total - blocks)  # (n,)
    if logarithmic and value > 0 and bool((left_out > 0).all()):
        low, high = map(math.exp, _ends(math.log(value), left_out.log(), confidence))
    else:
        low, high = _ends(value, left_out, confidence)
    return Interval(value, min(low, value), max(high, value))


def _ends(value: float, left_out: torch.Tensor, confidence: float) -> tuple[float, float]:
    count, mean = len(left_out), float(left_out.mean())
    centre = count * value - (count - 1) * mean  # the bias, of order 1 / n, is gone
    spread = math.sqrt((count - 1) / count * float((left_out - mean).square().sum()))
    half = t_quantile(confidence, count - 1) * spread
    return centre - half, centre + half


def t_quantile(confidence: float, degrees: int) -> float:
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
