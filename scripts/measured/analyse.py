#!/usr/bin/env python3
"""Choose a guard against views without signal, test it, and print every table of README.md.

    python scripts/measured/analyse.py [--figure guard.png]

Reads students.csv and measures.csv. The rules and words are those of PREDICTIONS.md.
"""

import argparse
import itertools
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.measured.points import CEILINGS, FLOORS, HERE, Point, earlier_points, points, read

CHOOSE = ("noise", "patches", "recolourings", "paper")
TEST = ("cutout", "resizedcrop", "mean", "paper")
SUGGESTED = {"R": 0.4, "MI_share": 0.45, "B": 0.88}
"""Borders that the earlier numbers suggest."""


class Guard(NamedTuple):
    """Keeps a scheme whose measures are all on the right side of their borders."""

    borders: tuple[tuple[str, float], ...]
    errors: int
    gap: float

    def suits(self, among: Sequence[Point]) -> bool:
        """True if the points have the measures that the guard reads."""
        return not any(math.isnan(p.measures[name]) for p in among for name, _ in self.borders)

    def keeps(self, point: Point) -> bool:
        return all(
            point.measures[name] >= border if name in FLOORS else point.measures[name] <= border
            for name, border in self.borders
        )

    def __str__(self) -> str:
        signs = [f"{name} {'>=' if name in FLOORS else '<='} {b:.3g}" for name, b in self.borders]
        return " and ".join(signs) or "none"


def choose(among: Sequence[Point], names: Sequence[str]) -> Guard:
    """The borders of these measures with fewest errors; among equals, the widest gap."""
    labelled = [p for p in among if p.is_trap or p.verdict == "good"]
    guards = []
    for borders in itertools.product(*(list(possible(labelled, name)) for name in names)):
        guard = Guard(tuple((name, b) for name, (b, _) in zip(names, borders)), 0, 0.0)
        gap = min(g for _, g in borders)
        guards.append(guard._replace(errors=count_errors(guard, labelled), gap=gap))
    return min(guards, key=lambda guard: (guard.errors, -guard.gap))


def possible(among: Sequence[Point], name: str) -> Iterable[tuple[float, float]]:
    """(middle of a gap of neighbours, its share of the measure's range), or what keeps all."""
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
    result: Any = spearmanr([p.measures["T"] for p in among], [p.loss for p in among])
    return float(result.statistic), float(result.pvalue)


def regret(kept: Sequence[Point], among: Sequence[Point]) -> tuple[str, float]:
    """The kept scheme of the lowest T, and how much its S. test loss is above the lowest of all."""
    if not kept:
        return "-", math.nan
    chosen = min(kept, key=lambda p: p.measures["T"])
    return chosen.scheme, chosen.loss - min(p.loss for p in among)


def print_table(among: Sequence[Point]) -> None:
    print(
        "\n| second view | T / identity | R | MI share | B | V | A | S | S. test loss - "
        "identity | seeds | verdict |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for p in sorted(among, key=lambda p: p.measures["T"]):
        shown = " | ".join(f"{p.measures[n]:.2f}" for n in ("R", "MI_share", "B", "V", "A", "S"))
        n = len(p.differences)
        error = f" +- {p.error:.3f}" if n > 1 else ""
        print(
            f"| {p.scheme} | {p.measures['T'] / p.identity_t:.3f} | {shown} | "
            f"{p.difference:+.3f}{error} | {n} "
            f"| {'trap' if p.is_trap else p.verdict} |"
        )


def print_test(guards: Sequence[tuple[str, Guard]], among: Sequence[Point]) -> None:
    print(
        "\n| guard | missed traps | false alarms | kept | Spearman within | p | lowest T "
        "chooses | regret |"
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
    """Finished students with mean BatchNorm statistics of both views, and of the first alone."""
    rows: dict[str, list[dict[str, str]]] = {}
    for row in read(HERE / "batchnorm.csv"):
        if row["setup"] == setup:
            rows.setdefault(row["scheme"], []).append(row)
    if not rows:
        return
    print("\n| second view | as trained | both | first | first - both | seeds |")
    print("|---|---|---|---|---|---|")
    for scheme, found in rows.items():
        columns = ("s_test_loss", "loss_both", "loss_first")
        trained, both, first = (statistics.mean(float(r[c]) for r in found) for c in columns)
        change = f"{first - both:+.3f}"
        print(f"| {scheme} | {trained:.3f} | {both:.3f} | {first:.3f} | {change} | {len(found)} |")


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
    families = (
        "paper", "noise", "patches", "recolourings", "cutout", "resizedcrop", "mean", "controls",
    )  # fmt: skip
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
        ("test (b): test half, teacher B", second,
         [p for p in points(second) if p.is_in(TEST, "other")]),
        *((f"all, {setup}", setup, points(setup)) for setup in (first, second, *others)),
        *((setup, setup, earlier_points(setup))
          for setup in ("embedded_earlier", "cifar100_earlier")),
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
