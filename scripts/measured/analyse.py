#!/usr/bin/env python3
"""Choose a guard against views without signal, test it, and print every table of README.md.

    python scripts/measured/analyse.py [--figure guard.png]

Reads students.csv and measures.csv. The rules and words are those of PREDICTIONS.md.
"""

import argparse
import csv
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from scipy.stats import spearmanr

HERE = Path(__file__).resolve().parent
FLOORS, CEILINGS = ("R", "MI_share", "B", "V", "A"), ("S",)
CHOOSE = ("noise", "patches", "recolourings", "paper")
TEST = ("cutout", "resizedcrop", "mean", "paper")
SUGGESTED = {"R": 0.4, "MI_share": 0.45, "B": 0.88}
"""Borders that the earlier numbers suggest."""


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
        """Standard error of the difference; with one seed, 3 % of identity's loss stands for two of them."""
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


class Guard(NamedTuple):
    """Keeps a scheme whose measures are all on the right side of their borders."""

    borders: tuple[tuple[str, float], ...]
    errors: int
    gap: float

    def suits(self, among: Sequence[Point]) -> bool:
        """Whether the points have the measures that the guard reads."""
        return not any(math.isnan(p.measures[name]) for p in among for name, _ in self.borders)

    def keeps(self, point: Point) -> bool:
        return all(
            point.measures[name] >= border if name in FLOORS else point.measures[name] <= border
            for name, border in self.borders
        )

    def __str__(self) -> str:
        signs = [f"{name} {'>=' if name in FLOORS else '<='} {b:.3g}" for name, b in self.borders]
        return " and ".join(signs) or "none"


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def points(setup: str) -> list[Point]:
    """The schemes of a setup that have students and measures, each with the seeds that identity has too."""
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
            Point(setup, "", scheme, values, {1: loss}, [loss - identity], identity, float(base["t_stddev"]))
        )  # fmt: skip
    return found


def choose(among: Sequence[Point], names: Sequence[str]) -> Guard:
    """The borders of these measures with the fewest errors; of equals the one with the widest gap."""
    labelled = [p for p in among if p.is_trap or p.verdict == "good"]
    best = None
    for borders in itertools.product(*(list(possible(labelled, name)) for name in names)):
        guard = Guard(tuple((name, b) for name, (b, _) in zip(names, borders)), 0, 0.0)
        guard = guard._replace(errors=count_errors(guard, labelled), gap=min(g for _, g in borders))
        if best is None or (guard.errors, -guard.gap) < (best.errors, -best.gap):
            best = guard
    return best


def possible(among: Sequence[Point], name: str) -> Iterable[tuple[float, float]]:
    """(middle of a gap between two neighbours, the gap as a share of the measure's range), or what keeps all."""
    values = sorted({p.measures[name] for p in among})
    extent = values[-1] - values[0]
    yield (values[0] if name in FLOORS else values[-1]), 0.0
    for low, high in itertools.pairwise(values):
        yield (low + high) / 2, (high - low) / extent


def missed(guard: Guard, among: Sequence[Point]) -> list[Point]:
    return [p for p in among if p.is_trap and guard.keeps(p)]


def false_alarms(guard: Guard, among: Sequence[Point]) -> list[Point]:
    return [p for p in among if p.verdict == "good" and not guard.keeps(p)]


def count_errors(guard: Guard, among: Sequence[Point]) -> int:
    return len(missed(guard, among)) + len(false_alarms(guard, among))


def correlation(among: Sequence[Point]) -> tuple[float, float]:
    """Spearman of T with S. test loss, and its p value."""
    if len(among) < 3:
        return math.nan, math.nan
    result = spearmanr([p.measures["T"] for p in among], [p.loss for p in among])
    return float(result.statistic), float(result.pvalue)


def regret(kept: Sequence[Point], among: Sequence[Point]) -> tuple[str, float]:
    """The kept scheme of the lowest T, and how much its S. test loss is above the lowest of all."""
    if not kept:
        return "-", math.nan
    chosen = min(kept, key=lambda p: p.measures["T"])
    return chosen.scheme, chosen.loss - min(p.loss for p in among)


def print_table(among: Sequence[Point]) -> None:
    print(
        "\n| second view | T / identity | R | MI share | B | V | A | S | S. test loss - identity | seeds | verdict |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for p in sorted(among, key=lambda p: p.measures["T"]):
        shown = " | ".join(f"{p.measures[n]:.2f}" for n in ("R", "MI_share", "B", "V", "A", "S"))
        n = len(p.differences)
        error = f" +- {p.error:.3f}" if n > 1 else ""
        print(
            f"| {p.scheme} | {p.measures['T'] / p.identity_t:.3f} | {shown} | {p.difference:+.3f}{error} | {n} "
            f"| {'trap' if p.is_trap else p.verdict} |"
        )


def print_test(guards: Sequence[tuple[str, Guard]], among: Sequence[Point]) -> None:
    print(
        "\n| guard | missed traps | false alarms | kept | Spearman within | p | lowest T chooses | regret |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for title, guard in guards:
        if not guard.suits(among):
            print(f"| {title} ({guard}) | not measured | | | | | | |")
            continue
        kept = [p for p in among if guard.keeps(p)]
        rho, chance = correlation(kept)
        scheme, loss = regret(kept, among)
        traps, alarms = (
            f"{len(found)}/{total}{': ' if found else ''}{', '.join(p.scheme for p in found)}"
            for found, total in (
                (missed(guard, among), sum(p.is_trap for p in among)),
                (false_alarms(guard, among), sum(p.verdict == "good" for p in among)),
            )
        )
        print(
            f"| {title} ({guard}) | {traps} | {alarms} | {len(kept)}/{len(among)} "
            f"| {rho:+.2f} | {chance:.3f} | {scheme} | {loss:.3f} |"
        )


def print_batchnorm(setup: str) -> None:
    """The same students with BatchNorm's running statistics of the first view alone."""
    losses: dict[str, list[tuple[float, float]]] = {}
    for row in read(HERE / "batchnorm.csv"):
        if row["setup"] == setup:
            pair = float(row["loss_both"]), float(row["loss_first"])
            losses.setdefault(row["scheme"], []).append(pair)
    if "identity" not in losses:
        return
    print("\n| second view | both | first | first - both | seeds | share of the harm that goes |")
    print("|---|---|---|---|---|---|")
    base = statistics.mean(first for _, first in losses["identity"])
    for p in points(setup):
        if p.scheme in losses:
            both, first = (statistics.mean(side) for side in zip(*losses[p.scheme]))
            gone = f"{1 - (first - base) / p.difference:.0%}" if p.verdict == "harmful" else "-"
            count = len(losses[p.scheme])
            print(
                f"| {p.scheme} | {both:.3f} | {first:.3f} | {first - both:+.3f} | {count} | {gone} |"
            )


def print_strengths(setup: str, among: Sequence[Point]) -> None:
    """T and S. test loss by strength in each family, identity first."""
    print("\n| family | schemes | T / identity | S. test loss - identity |")
    print("|---|---|---|---|")
    for family in ("noise", "patches", "cutout", "resizedcrop", "mean"):
        members = sorted(
            (p for p in among if p.family == family or (family, p.scheme) == ("cutout", "cutout")),
            key=lambda p: p.strength,
        )
        if members:
            parts: list[Callable[[Point], str]] = [
                lambda p: p.scheme,
                lambda p: f"{p.measures['T'] / p.identity_t:.3f}",
                lambda p: f"{p.difference:+.3f}",
            ]
            cells = " | ".join(", ".join(part(p) for p in members) for part in parts)
            print(f"| {family} | {cells} |")


def draw(guard: Guard, setups: Sequence[str], path: Path) -> None:
    """T against S. test loss, a panel a setup; what the guard rejects is hollow."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [setup for setup in setups if points(setup)]
    figure, axes = plt.subplots(1, len(shown), figsize=(5.2 * len(shown), 4.4), squeeze=False)
    families = ("paper", "noise", "patches", "recolourings", "cutout", "resizedcrop", "mean", "controls")  # fmt: skip
    for axis, setup in zip(axes[0], shown):
        for number, family in enumerate(families):
            for p in points(setup):
                if p.family == family:
                    colour = f"C{number}"
                    face = colour if guard.keeps(p) else "none"
                    x, y = p.measures["T"] / p.identity_t, p.loss
                    axis.scatter(x, y, s=36, edgecolors=colour, facecolors=face)
                    axis.annotate(
                        p.scheme, (x, y), xytext=(3, 3), textcoords="offset points", fontsize=5
                    )
        axis.axhline(points(setup)[0].identity, color="grey", linewidth=0.6, linestyle=":")
        axis.set(yscale="log", xlabel="T. stddev / identity's", ylabel="S. test loss", title=setup)
    figure.suptitle(f"filled: kept by {guard}; hollow: rejected", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    first, second, *others = (
        "embedded_wrn_16_1 embedded_resnet14 cifar100_wrn_16_2 cifar100_resnet20".split()
    )
    on_a = points(first)
    half = [p for p in on_a if p.is_in(CHOOSE, "grey")]
    names = (*FLOORS, *CEILINGS)
    singles = [choose(half, [name]) for name in names]
    pairs = [choose(half, pair) for pair in itertools.combinations(names, 2)]
    chosen = min([*singles, *pairs], key=lambda g: (g.errors, len(g.borders), -g.gap))
    print(f"## Choice, on {first}\n\n| guard | errors | gap |\n|---|---|---|")
    for guard in sorted([*singles, *pairs], key=lambda g: (g.errors, len(g.borders), -g.gap))[:14]:
        print(f"| {guard} | {guard.errors} | {guard.gap:.3f} |")
    guards = [("no guard", Guard((), 0, 0.0)), ("chosen", chosen)]
    guards += [(f"suggested {n}", Guard(((n, b),), 0, 0.0)) for n, b in SUGGESTED.items()]
    for title, setup, among in [
        ("choose half, teacher A", first, half),
        ("test (a): test half, teacher A", first, [p for p in on_a if p.is_in(TEST, "other")]),
        ("test (b): test half, teacher B", second, [p for p in points(second) if p.is_in(TEST, "other")]),
        *((f"all, {setup}", setup, points(setup)) for setup in (first, second, *others)),
        *((setup, setup, earlier_points(setup)) for setup in ("embedded_earlier", "cifar100_earlier")),
    ]:  # fmt: skip
        if among:
            print(f"\n## {title}")
            print_test(guards, among)
            if title.startswith("all"):
                print_table(among)
                print_strengths(setup, among)
                print_batchnorm(setup)
    if options.figure:
        draw(chosen, [first, second, *others], options.figure)


if __name__ == "__main__":
    main()
