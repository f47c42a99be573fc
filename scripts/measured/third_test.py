#!/usr/bin/env python3
"""The third test of a guard, by the rule of PREDICTIONS_3.md.

    python scripts/measured/third_test.py

Reads students.csv and measures.csv. Nothing is trained.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.measured.analyse import (
    Guard,
    correlation,
    false_alarms,
    missed,
    print_table,
    print_test,
    regret,
)
from scripts.measured.plan import THIRD, first_views, second_views
from scripts.measured.points import Point, points

SEEDS = 3
SHIFT = Guard((("S", 0.065), ("MI_share", 0.1)), 0, 0.0)
OTHERS = {
    "no guard": (),
    "balance": (("B", 0.88), ("MI_share", 0.1)),
    "stricter": (("S", 0.05), ("MI_share", 0.1)),
    "laxer": (("S", 0.08), ("MI_share", 0.1)),
    "agreement": (("A", 0.15),),
}
"""For comparison, without a verdict."""


def counted(among: Sequence[Point]) -> list[Point]:
    """The views that have all their seeds."""
    return [p for p in among if len(p.losses) == SEEDS]


def failures(guard: Guard, among: Sequence[Point]) -> list[str]:
    """The conditions that the guard does not meet in one setup, in words; empty if it passes."""
    found = []
    for kind, all_of_it, wrong in (
        ("traps missed", [p for p in among if p.is_trap], missed(guard, among)),
        ("good views rejected", [p for p in among if p.verdict == "good"],
         false_alarms(guard, among)),
    ):  # fmt: skip
        if len(all_of_it) < 4:
            found.append(f"{kind}: there are {len(all_of_it)}, which says nothing")
        elif len(wrong) > len(all_of_it) // 8:
            names = ", ".join(p.scheme for p in wrong)
            found.append(f"{kind}: {len(wrong)} of {len(all_of_it)}, {names}")
    kept = [p for p in among if guard.keeps(p)]
    if not (rho := correlation(kept)[0]) >= 0.5:
        found.append(f"Spearman within what it keeps is {rho:+.2f}")
    chosen = regret(kept, among)[0]
    if any(p.scheme == chosen and p.verdict == "harmful" for p in kept):
        found.append(f"the lowest T, {chosen}, is harmful")
    return found


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    earlier = {scheme.name for scheme in (*first_views(32), *second_views())}
    guards = [("shift, the one under test", SHIFT)]
    guards += [(title, Guard(borders, 0, 0.0)) for title, borders in OTHERS.items()]
    for setup in THIRD:
        everything = points(setup.name)
        among = counted(everything)
        print(f"## test (e), {setup.name}: {len(among)} views with {SEEDS} seeds")
        print_test(guards, among)
        fresh = [p for p in among if p.scheme not in earlier]
        print(f"\nOf these, the {len(fresh)} fresh ones:")
        print_test(guards, fresh)
        reasons = failures(SHIFT, among)
        print("\nThe guard " + ("fails: " + "; ".join(reasons) if reasons else "passes."))
        print_table(everything)


if __name__ == "__main__":
    main()
