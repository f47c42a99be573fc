"""Which second views T. stddev can be believed of.

A view that says nothing has the lowest T. stddev of all.

The constants of `Guard` are the one place that says which measure guards, where its border is, and
why.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from helper.errors import unknown_name
from helper.step.intervals import Interval
from helper.step.view_stats import MEASURES, ViewStatistics

ROUNDING = 1e-9
VerdictName = Literal["ranked", "unproven", "no signal"]


class Verdict(NamedTuple):
    """`reason` is empty for what is ranked."""

    name: VerdictName
    reason: str = ""
    is_open: bool = False
    """Whether more steps may change it."""


@dataclass(frozen=True)
class Guard:
    """Tells views that say something from those that do not, by the ends of intervals.

    `no signal`: the guard, or the information, is below its border for certain. `unproven`: it may
    be, or T. stddev lies where no student has been measured. `ranked`: all else.
    """

    measure: str = "balance"
    """One of `view_stats.MEASURES`."""
    border: float = 0.88
    information_floor: float = 0.1
    """Lowest information as a share of identity's: uniform answers to everything have a balance of
    1."""
    t_range: tuple[float, float] = (0.66, 1.0)
    """T. stddev as a share of identity's, lowest and highest of the paper's 72 points."""
    source: str = (
        "balance below .88 went with bad students on CIFAR-100 (resnet8, wrn_16_2 teacher, 9 views) and on the "
        "synthetic data (resnet8, wrn_16_1 teacher, 10 views), one seed each; not yet tested on other views"
    )
    """Where the border is from; a border of your own should say so."""

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise unknown_name("guard", self.measure, MEASURES)

    def describe(self) -> str:
        """The guard in a line."""
        return (
            f"guard: {self.measure} of at least {self.border:g}, and information of at least "
            f"{self.information_floor:g} of identity's; source: {self.source}"
        )

    def verdict(self, statistics: ViewStatistics, confidence: float = 0.95) -> Verdict:
        """What can be said of a scheme so far."""
        if not statistics.is_finite():
            return Verdict("no signal", "the teacher's outputs are not finite")
        limits = ((self.measure, self.border), ("information_share", self.information_floor))
        found = [(name, border, statistics.measure(name, confidence)) for name, border in limits]
        for name, border, interval in found:
            if is_below(interval, border):
                return Verdict("no signal", f"{name} {interval.value:.2f} is below {border:g}")
        for name, border, interval in found:
            if not interval.low >= border:
                reason = f"{name} {interval.value:.2f} may be below {border:g}"
                return Verdict("unproven", reason, is_open=True)
        return self._within_range(statistics.measure("t_share", confidence))

    def _within_range(self, share: Interval) -> Verdict:
        low, high = self.t_range
        if is_below(share, low) or share.low > high + ROUNDING or math.isnan(share.low):
            reason = f"T. stddev is {share.value:.2f} of identity's, measured students have {low:g} to {high:g}"
            return Verdict("unproven", reason)
        return Verdict("ranked", is_open=share.low < low)


def is_below(interval: Interval, border: float) -> bool:
    """For certain. Where there is no interval, nothing is."""
    return interval.high < border
