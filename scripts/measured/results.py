#!/usr/bin/env python3
"""Write RESULTS.md and figures/ from the rows of this folder.

    python scripts/measured/results.py

Nothing is trained.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from helper.run.atomic import write_result
from helper.step.guard import Guard
from scripts.measured.picture import (
    FEWEST,
    Drawn,
    draw_all,
    drawn_schemes,
    rank_correlation,
    with_signal,
)
from scripts.measured.plan import SETUPS, Setup
from scripts.measured.points import HERE

FIGURES = "figures"
HEADER = """# Results of the evidence

Written by `python scripts/measured/results.py` from students.csv and measures.csv.
[README.md](README.md) says what was measured and what it means,
[PREDICTIONS.md](PREDICTIONS.md) has the formulas and the words.

T is T. stddev as a share of identity's, with the 95 % interval of the share (in pairs of steps).
The guard's verdict comes from the teacher alone:
{guard}.
The difference is that of S. test loss to identity's, seed by seed, with its standard error; with
one seed there is none. The last column says what the students say: good, harmful or unclear, and
trap for a harmful scheme with a T below 1.

Students ran on a CPU, those of third_* on an NVIDIA H100 (students.csv says it row by row). Nothing
here was trained for 240 epochs.

To train the students of one row, or of several:

    python scripts/measured/students.py --work runs --only embedded_wrn_16_1 --schemes mixup
    python scripts/measured/students.py --work runs --collect
    python scripts/measured/results.py
"""


def table(schemes: Sequence[Drawn]) -> Iterator[str]:
    """A row for each scheme; those without a student at the end of it are there too."""
    yield "| second view | T | guard | S. test loss | difference | seeds | students say |"
    yield "|---|---|---|---|---|---|---|"
    for one in schemes:
        t = f"{one.t.value:.3f} ({one.t.low:.2f} {one.t.high:.2f})"
        yield f"| {one.scheme} | {t} | {one.verdict} | {' | '.join(students(one))} |"


def students(one: Drawn) -> list[str]:
    """S. test loss, difference to identity's, number of seeds, verdict."""
    if one.point is None:
        return ["", "", "0", ""]
    seeds = len(one.point.differences)
    error = f" ± {one.point.error:.3f}" if seeds > 1 else ""
    verdict = "trap" if one.point.is_trap else one.point.verdict
    is_base = one.scheme == "identity"
    difference = "" if is_base else f"{one.point.difference:+.3f}{error}"
    return [f"{one.point.loss:.3f}", difference, str(seeds), "" if is_base else verdict]


def section(setup: Setup, schemes: Sequence[Drawn]) -> Iterator[str]:
    """One teacher: its picture, its coefficients, its table."""
    with_students = [one for one in schemes if one.point]
    kept = with_signal(with_students)
    yield f"\n## {setup.name}\n"
    yield (
        f"Teacher {setup.teacher}, student {setup.student}, {setup.epochs} epochs, `{setup.data}`. "
        f"{len(schemes)} schemes are measured, {len(with_students)} of them have students."
    )
    if len(with_students) >= FEWEST:
        everything = rank_correlation(with_students)
        text = f"Spearman's coefficient of T with S. test loss: {everything:+.2f} over these"
        if len(kept) >= FEWEST:
            among = f"{rank_correlation(kept):+.2f} over the {len(kept)}"
            text += f", {among} that the guard does not reject"
        yield f"{text}."
        yield f"\n{picture_tag(setup.name, FIGURES)}"
    yield ""
    yield from table(schemes)


def picture_tag(name: str, folder: str) -> str:
    """The four pictures of a setup as HTML: a page takes the one that suits it."""
    narrow = "(max-width: 600px)"
    dark = "(prefers-color-scheme: dark)"
    sources = (
        (f"{dark} and {narrow}", "-narrow-dark"), (narrow, "-narrow"), (dark, "-dark"),
    )  # fmt: skip
    lines = [
        f'  <source media="{media}" srcset="{folder}/{name}{ending}.png">'
        for media, ending in sources
    ]
    alt = (
        "Left: T. stddev of each augmentation, from the teacher alone. Right: S. test loss of "
        "students trained under it."
    )
    return "\n".join(
        ["<picture>", *lines, f'  <img alt="{alt}" src="{folder}/{name}.png">', "</picture>"]
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    parts = [HEADER.format(guard=Guard().describe())]
    for setup in SETUPS.values():
        schemes = drawn_schemes(setup.name)
        if not schemes:
            continue
        parts += section(setup, schemes)
        if sum(one.point is not None for one in schemes) >= FEWEST:
            for path in draw_all(setup.name, HERE / FIGURES, setup.name):
                print(path.relative_to(HERE))
    write_result(HERE / "RESULTS.md", "\n".join(parts) + "\n")
    print("RESULTS.md")


if __name__ == "__main__":
    main()
