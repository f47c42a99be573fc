#!/usr/bin/env python3
"""The paper's scatter plot, S. test loss over T. stddev: a point a scheme, a panel a pair.

    python scripts/plot_correlation.py Experiments -o scatter.png
    python scripts/plot_correlation.py scripts/published/scatter.csv    # published coefficients

Reads run folders and logs as collect_results.py does, or one CSV file with the columns dataset,
teacher, student, augmentation, t_stddev, s_test_loss and, if there are, method and s_test_loss_std,
as collect_results.py --csv writes them. The theory (H. Wang et al., "What Makes a 'Good' Data
Augmentation in Knowledge Distillation - A Statistical Perspective", NeurIPS 2022, arXiv 2012.02909)
says: the lower T. stddev, the better the DA; so the points should rise from left to right.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.errors import UserError, one_line_errors
from scripts.results.command_line import paths_parser, print_remarks
from scripts.results.correlation import Point, correlations, points_of, read_points, shown
from scripts.results.groups import Group, load
from scripts.results.option_list import printable

PROGRAM = "plot_correlation.py"
LOG_SUFFIXES = (".txt", ".log", ".jsonl")


def read(paths: Sequence[Path]) -> tuple[dict[Group, list[Point]], list[str]]:
    """(points by group, remarks) of run folders and logs, or of one CSV file. Raises UserError."""
    tables = [
        path for path in paths if not path.is_dir() and path.suffix.lower() not in LOG_SUFFIXES
    ]
    if tables and len(paths) > 1:
        raise UserError(f"{printable(tables[0])}: give one CSV file, or run folders and logs")
    if tables:
        (groups, incomplete), remarks = read_points(tables[0]), []
    else:
        results = load(paths)
        (groups, incomplete), remarks = points_of(results), results.remarks()
    if incomplete:
        remarks.append(f"schemes without both values, left out: {incomplete}")
    return groups, remarks


def draw(
    groups: Mapping[Group, Sequence[Point]], path: Path, *, each_pair: bool, dark: bool
) -> list[Path]:
    """The grid and, if asked for, one figure a pair beside it. Returns the files."""
    # They take a second, which coefficients alone need not.
    from scripts.results import figures, style

    made = [(path, groups)]
    if each_pair:
        for group, points in groups.items():
            name = re.sub(r"[^\w.+-]", "_", "_".join(filter(None, group)))
            made.append((path.with_name(f"{path.stem}_{name}{path.suffix}"), {group: points}))
    with style.drawing(dark=dark):
        for file, drawn in made:
            figures.save(figures.scatter(drawn, dark=dark), file)
    return [file for file, _ in made]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = paths_parser(PROGRAM, __doc__)
    add = parser.section("output")
    # fmt: off
    add("-o", "--output", type=Path, action="append", default=[], metavar="FILE",
        help="the figure, a grid over the pairs: .png, .svg or .pdf; may be given several times")
    add("--each_pair", action="store_true", help="also one figure a pair, FILE's name with the "
                                                 "pair's added")
    add("--dark", action="store_true", help="for a dark page")
    add("--json", action="store_true", help="print the coefficients as JSON")
    # fmt: on
    return parser.parse(argv)


def main(argv: Sequence[str]) -> None:
    options = parse(argv)
    groups, remarks = read(options.paths)
    found = {group: correlations(points) for group, points in groups.items()}
    if options.json:
        shown_groups = [{**g._asdict(), "points": len(groups[g]), **found[g]} for g in groups]
        print(json.dumps(shown_groups, indent=1))
    else:
        for group, points in groups.items():
            print(f"{group.title}, {len(points)} schemes: {shown(found[group], len(points))}")
    print_remarks(remarks)
    drawn = {group: points for group, points in groups.items() if points}
    if options.output and not drawn:
        raise UserError(f"{', '.join(map(printable, options.paths))}: no point to draw")
    for path in options.output:
        files = draw(drawn, path, each_pair=options.each_pair, dark=options.dark)
        print_remarks(f"figure: {printable(file)}" for file in files)


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        main(sys.argv[1:])
