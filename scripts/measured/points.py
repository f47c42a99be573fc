"""Rows of students.csv and measures.csv as points: a setup's scheme, measures, students."""

import csv
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLOORS, CEILINGS = ("R", "MI_share", "B", "V", "A"), ("S",)
"""Candidates for a guard: what is to be high enough, and what is not to be too high."""


@dataclass
class Point:
    """A scheme of one setup: its measures, and its students' S. test loss."""

    setup: str
    family: str
    scheme: str
    measures: dict[str, float]
    losses: dict[int, float]
    """Seed -> S. test loss."""
    differences: list[float]
    """To identity, seed by seed."""
    identity: float
    """Mean S. test loss of identity."""
    identity_t: float
    strength: float = 0

    @property
    def loss(self) -> float:
        return statistics.mean(self.losses.values())

    @property
    def difference(self) -> float:
        return statistics.mean(self.differences)

    @property
    def error(self) -> float:
        """Standard error of the difference.

        With one seed, 3 % of identity's loss stands for two of them.
        """
        n = len(self.differences)
        if n < 2:
            return 0.015 * self.identity
        return statistics.stdev(self.differences) / math.sqrt(n)

    @property
    def verdict(self) -> str:
        if self.scheme == "identity":
            return "unclear"
        if self.difference < -2 * self.error:
            return "good"
        is_harmful = self.difference > max(2 * self.error, 0.01 * self.identity)
        return "harmful" if is_harmful else "unclear"

    @property
    def is_trap(self) -> bool:
        return self.verdict == "harmful" and self.measures["T"] < self.identity_t

    def is_in(self, families: Sequence[str], control: str) -> bool:
        return self.family in families or self.scheme == control


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def points(setup: str) -> list[Point]:
    """The schemes of a setup with students and measures, on the seeds that identity has too."""
    losses: dict[str, dict[int, float]] = {}
    facts: dict[str, tuple[str, float]] = {}
    for row in read(HERE / "students.csv"):
        if row["setup"] == setup:
            losses.setdefault(row["scheme"], {})[int(row["seed"])] = float(row["s_test_loss"])
            facts[row["scheme"]] = row["family"], float(row["strength"])
    measured = {row["scheme"]: row for row in read(HERE / "measures.csv") if row["setup"] == setup}
    identity, found = losses.get("identity", {}), []
    for scheme, by_seed in losses.items():
        shared = {seed: loss for seed, loss in by_seed.items() if seed in identity}
        if scheme in measured and shared:
            values = {
                n: float(measured[scheme][n]) for n in ("T", "MI", *FLOORS, *CEILINGS, "top1")
            }
            found.append(
                Point(
                    setup, facts[scheme][0], scheme, values, shared,
                    [loss - identity[seed] for seed, loss in shared.items()],
                    statistics.mean(identity.values()), float(measured["identity"]["T"]),
                    facts[scheme][1],
                )
            )  # fmt: skip
    return found


def earlier_points(setup: str) -> list[Point]:
    """The numbers that were known before: one seed, and not all measures."""
    rows = {row["scheme"]: row for row in read(HERE / "earlier.csv") if row["setup"] == setup}
    base, found = rows["identity"], []
    for scheme, row in rows.items():
        values = {name: float(row[name] or "nan") for name in ("R", "MI", "B")}
        values |= {"T": float(row["t_stddev"]), "V": math.nan, "A": math.nan, "S": math.nan}
        values["MI_share"] = values["MI"] / float(base["MI"] or "nan")
        loss, identity = float(row["s_test_loss"]), float(base["s_test_loss"])
        found.append(
            Point(setup, "", scheme, values, {1: loss}, [loss - identity], identity,
                  float(base["t_stddev"]))
        )  # fmt: skip
    return found
