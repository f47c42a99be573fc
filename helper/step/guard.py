"""Which second views T. stddev can be believed of.

A view that says nothing has the lowest T. stddev of all.

`EVIDENCE` is the one place that says which measures guard, where their borders are, which range of
T. stddev students support, and whether the guard has passed its test.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from helper.errors import unknown_name
from helper.step.intervals import Interval
from helper.step.view_stats import MEASURES, ViewStatistics

PAPER_SCHEMES = (
    "identity", "flip", "crop+flip", "cutout", "autoaugment", "mixup", "cutmix",
    "cutmix_pick:criterion=teacher_entropy", "cutmix_pick:criterion=student_entropy",
)  # fmt: skip
"""The nine whose students the paper measured, with their default strengths."""


class Evidence(NamedTuple):
    """The evidence for the guard from trained students."""

    has_passed: bool
    """Whether the guard has told good from harmful views that it was not chosen on."""
    floors: Mapping[str, float]
    """Least value of each measure, names of `view_stats.MEASURES`; the first one is shown."""
    t_range: tuple[float, float]
    """T. stddev as a share of identity's, lowest and highest with measured students."""
    source: str


EVIDENCE = Evidence(
    has_passed=False,
    # Uniform answers to everything have a balance of 1, so information has a floor too.
    floors={"balance": 0.88, "information_share": 0.1},
    # The paper's 72 points have .66 to 1.00, autoaugment on the synthetic data 1.37 and 1.39.
    t_range=(0.66, 1.39),
    source=(
        "29 and 17 views of teachers wrn_16_1 and resnet14 on the synthetic data, three and five"
        " seeds; 28 of a resnet20 on ten classes of CIFAR-100, where it failed; 29 of another on"
        " CIFAR-100, three seeds each (scripts/measured/README.md)"
    ),
)
ROUNDING = 1e-9
VerdictName = Literal["ranked", "unproven", "no signal"]


class Verdict(NamedTuple):
    """`reason` is empty for what is ranked."""

    name: VerdictName
    reason: str = ""
    is_open: bool = False
    """Whether more steps may change it."""


BEYOND_PAPER = Verdict("unproven", "beyond the paper's schemes, guard not proven")


@dataclass(frozen=True)
class Guard:
    """Tells views that say something from those that do not, by the ends of intervals.

    `no signal`: a measure is below its floor for certain. `unproven`: it may be; or T. stddev lies
    where no student has been measured; or the scheme is none of the paper's, and the guard is not
    trusted. `ranked`: all else.
    """

    floors: Mapping[str, float] = field(default_factory=lambda: dict(EVIDENCE.floors))
    """As in `Evidence`."""
    is_trusted: bool = field(default_factory=lambda: EVIDENCE.has_passed)
    """Whether schemes that the paper did not measure may be ranked."""
    t_range: tuple[float, float] = field(default_factory=lambda: EVIDENCE.t_range)

    def __post_init__(self) -> None:
        for measure in self.floors or {"": 0}:
            if measure not in MEASURES:
                raise unknown_name("guard", measure, MEASURES)

    @property
    def measure(self) -> str:
        """The first measure, which tables and figures show."""
        return next(iter(self.floors))

    @property
    def border(self) -> float:
        return self.floors[self.measure]

    @property
    def is_proven(self) -> bool:
        """Whether these floors are the ones that passed the test."""
        return EVIDENCE.has_passed and self.floors == EVIDENCE.floors

    @property
    def state(self) -> str:
        """How far it can be believed, in words."""
        if self.is_proven:
            return "proven: it passed its test on other views and another teacher"
        return "not proven" + (", but trusted here" if self.is_trusted else "")

    @property
    def summary(self) -> str:
        """The guard in a short line."""
        floors = " and ".join(
            f"{name} of at least {least:g}" for name, least in self.floors.items()
        )
        return f"guard: {floors}; {self.state}"

    def describe(self) -> str:
        """The guard, and where its floors come from."""
        is_default = self.floors == EVIDENCE.floors
        return f"{self.summary}; source: {EVIDENCE.source if is_default else 'your own'}"

    def verdict(self, scheme: str, statistics: ViewStatistics, confidence: float = 0.95) -> Verdict:
        """The verdict on the views so far. scheme: its canonical spelling."""
        if not statistics.is_finite():
            return Verdict("no signal", "the teacher's outputs are not finite")
        found = [(n, least, statistics.measure(n, confidence)) for n, least in self.floors.items()]
        for name, least, interval in found:
            if is_below(interval, least):
                return Verdict("no signal", f"{name} {interval.value:.2f} is below {least:g}")
        if not (self.is_trusted or is_of_paper(scheme)):
            return BEYOND_PAPER
        for name, least, interval in found:
            if not interval.low >= least:
                reason = f"{name} {interval.value:.2f} may be below {least:g}"
                if math.isnan(interval.low):
                    reason = "too few images yet for the guard"
                return Verdict("unproven", reason, is_open=True)
        return self._within_range(statistics.measure("t_share", confidence))

    def _within_range(self, share: Interval) -> Verdict:
        low, high = self.t_range
        if is_below(share, low) or share.low > high + ROUNDING or math.isnan(share.low):
            reason = (
                f"T. stddev is {share.value:.2f} of identity's, measured students have {low:g} to"
                f" {high:g}"
            )
            return Verdict("unproven", reason)
        return Verdict("ranked", is_open=share.low < low)


def is_below(interval: Interval, border: float) -> bool:
    """For certain. Where there is no interval, nothing is."""
    return interval.high < border


def is_of_paper(scheme: str) -> bool:
    """True for one of `PAPER_SCHEMES`, drawn once a batch or once an image."""
    plain = re.sub(r"([:,])draw=\w+,?", r"\1", scheme).rstrip(":,")
    return plain in PAPER_SCHEMES
