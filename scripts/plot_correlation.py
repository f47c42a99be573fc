#!/usr/bin/env python3
"""The paper's scatter plot: S. test loss against T. stddev, one point a DA scheme, one panel a pair.

    python scripts/plot_correlation.py Experiments -o scatter.png
    python scripts/plot_correlation.py scripts/published/scatter.csv          the published coefficients

Reads run folders and logs as collect_results.py does, or one CSV file with the columns dataset, teacher, student,
augmentation, t_stddev, s_test_loss and, if there are, method and s_test_loss_std, as collect_results.py --csv
writes them. The theory (H. Wang et al., "What Makes a 'Good' Data Augmentation in Knowledge Distillation - A
Statistical Perspective", NeurIPS 2022, arXiv 2012.02909) says: the lower T. stddev, the better the DA; so the
points should rise from left to right.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.results.correlation import Point, correlations, points_of, read_points, shown
from scripts.results.groups import Group, as_json, load, run_script, say
from scripts.results.logs import InputError, printable

PROGRAM = "plot_correlation.py"
LOG_SUFFIXES = (".txt", ".log", ".jsonl")


def read(paths: Sequence[Path]) -> tuple[dict[Group, list[Point]], list[str]]:
    """(points by group, remarks) of run folders and logs, or of one CSV file. Raises InputError."""
    tables = [
        path for path in paths if not path.is_dir() and path.suffix.lower() not in LOG_SUFFIXES
    ]
    if tables and len(paths) > 1:
        raise InputError(f"{printable(tables[0])}: give one CSV file, or run folders and logs")
    if tables:
        (groups, incomplete), remarks = read_points(tables[0]), []
    else:
        results = load(paths)
        (groups, incomplete), remarks = points_of(results), results.remarks()
    if incomplete:
        remarks.append(f"schemes without both values, left out: {incomplete}")
    return groups, remarks


def draw(groups: Mapping[Group, Sequence[Point]], path: Path, *, each_pair: bool) -> list[Path]:
    """The grid and, if asked for, one figure a pair beside it. Returns the files."""
    from scripts.results import figures  # takes a second, which coefficients alone need not

    made = [(path, groups)]
    if each_pair:
        for group, points in groups.items():
            name = re.sub(r"[^\w.+-]", "_", "_".join(filter(None, group)))
            made.append((path.with_name(f"{path.stem}_{name}{path.suffix}"), {group: points}))
    with figures.drawing():
        for file, drawn in made:
            figures.save(figures.scatter(drawn), file)
    return [file for file, _ in made]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a CSV file, or run folders and logs"
    )
    parser.add_argument("-o", "--output", type=Path, action="append", default=[], metavar="FILE",
                        help="the figure, a grid over the pairs: .png, .svg or .pdf; may be given several times")  # fmt: skip
    parser.add_argument("--each_pair", action="store_true",
                        help="also one figure a pair, FILE's name with the pair's added")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the coefficients as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    options = parse(argv)
    groups, remarks = read(options.paths)
    found = {group: correlations(points) for group, points in groups.items()}
    if options.json:
        print(
            as_json([{**g._asdict(), "points": len(groups[g]), **found[g]} for g in groups]), end=""
        )
    else:
        for group, points in groups.items():
            print(f"{group.title}, {len(points)} schemes: {shown(found[group], len(points))}")
    say(remarks)
    if options.output and not any(groups.values()):
        raise InputError(f"{', '.join(map(printable, options.paths))}: no point to draw")
    for path in options.output:
        files = draw(
            {g: points for g, points in groups.items() if points}, path, each_pair=options.each_pair
        )
        say(f"figure: {printable(file)}" for file in files)


if __name__ == "__main__":
    run_script(PROGRAM, main)
