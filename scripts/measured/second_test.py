#!/usr/bin/env python3
"""The second test of the program's guard, by the rule of PREDICTIONS_2.md.

    python scripts/measured/second_test.py

Reads students.csv and measures.csv. Nothing is trained.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from helper.step.guard import EVIDENCE
from scripts.measured.analyse import (
    Guard,
    correlation,
    false_alarms,
    missed,
    print_table,
    print_test,
)
from scripts.measured.picture import COLUMNS
from scripts.measured.plan import SECOND
from scripts.measured.points import Point, points

SEEDS = 3
PROGRAM = Guard(tuple((COLUMNS[name], least) for name, least in EVIDENCE.floors.items()), 0, 0.0)
OTHERS = {
    "no guard": (),
    "first test's choice": (("B", 0.743),),
    "with CIFAR-100": (("B", 0.84),),
    "R": (("R", 0.4),),
}
"""For comparison, without a verdict."""


def counted(among: Sequence[Point]) -> list[Point]:
    """The views that the test is about, as far as all their seeds are there."""
    return [p for p in among if p.family != "again" and len(p.losses) == SEEDS]


def failures(guard: Guard, among: Sequence[Point]) -> list[str]:
    """The conditions that the guard does not meet, in words; empty if it passes."""
    traps, kept = sum(p.is_trap for p in among), [p for p in among if guard.keeps(p)]
    rho, found = correlation(kept)[0], []
    if traps < 2:
        found.append(f"there are {traps} traps, which says nothing of traps")
    if lost := missed(guard, among):
        found.append(f"it misses {', '.join(p.scheme for p in lost)}")
    if len(alarms := false_alarms(guard, among)) > 1:
        found.append(f"{len(alarms)} false alarms: {', '.join(p.scheme for p in alarms)}")
    if not rho >= 0.5:
        found.append(f"Spearman within what it keeps is {rho:+.2f}")
    return found


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    everything = points(SECOND.name)
    among = counted(everything)
    guards = [("the program's", PROGRAM)]
    guards += [(title, Guard(borders, 0, 0.0)) for title, borders in OTHERS.items()]
    print(f"## test (d): {len(among)} views with {SEEDS} seeds")
    print_test(guards, among)
    reasons = failures(PROGRAM, among)
    print("\nThe guard " + ("fails: " + "; ".join(reasons) if reasons else "passes."))
    print_table(everything)


if __name__ == "__main__":
    main()
