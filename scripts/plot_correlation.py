#!/usr/bin/env python3
"""The paper's scatter plot: S. test loss against T. stddev, one point a DA scheme, one panel a pair.

    python scripts/plot_correlation.py results.csv -o scatter.png

Reads the columns dataset, teacher, student, augmentation, t_stddev, s_test_loss, as collect_results.py --csv
writes them. The theory (H. Wang et al., "What Makes a 'Good' Data Augmentation in Knowledge Distillation - A
Statistical Perspective", NeurIPS 2022, arXiv 2012.02909) says: the lower T. stddev, the better the DA; so the
points should rise from left to right.
"""

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

PROGRAM = "plot_correlation.py"
COLUMNS = ("dataset", "teacher", "student", "augmentation", "t_stddev", "s_test_loss")
COEFFICIENTS = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}
FEWEST_POINTS = 3

# Okabe and Ito's colours, told apart by colour-blind readers too; light yellow gives way to brown.
STYLES = {
    "identity": ("black", "o"),
    "flip": ("#999999", "s"),
    "crop+flip": ("#56b4e9", "D"),
    "cutout": ("#0072b2", "v"),
    "autoaugment": ("#e69f00", "^"),
    "mixup": ("#cc79a7", "P"),
    "cutmix": ("#009e73", "X"),
    "cutmix_pick_student_entropy": ("#8c510a", "<"),
    "cutmix_pick_teacher_entropy": ("#d55e00", "*"),
}
"""Colour and marker of the paper's schemes, in the order of its tables."""
SIZES = {"*": 120, "X": 65, "P": 65}
"""Area of the markers that look small, in square points."""
OTHER_COLOURS = ("#7b3294", "#a6761d", "#1b7837", "#c51b7d")


class InputError(ValueError):
    """What a user can get wrong, in one line."""


@dataclass(frozen=True)
class Point:
    augmentation: str
    t_stddev: float
    s_test_loss: float


Pair = tuple[str, str, str]
"""Data set, teacher, student."""


def read_points(path: Path) -> tuple[dict[Pair, list[Point]], int]:
    """(points by pair, number of rows left out for want of one of the two values). Raises InputError."""
    pairs: dict[Pair, list[Point]] = {}
    incomplete = 0
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path} lacks the columns {', '.join(missing)}")
            for row in reader:
                pair = pairs.setdefault((row["dataset"], row["teacher"], row["student"]), [])
                values = [_number(row[name], name, path, reader.line_num) for name in COLUMNS[-2:]]
                if None in values:
                    incomplete += 1
                else:
                    pair.append(Point(row["augmentation"], *values))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file") from None
    return pairs, incomplete


def _number(text: str | None, column: str, path: Path, line: int) -> float | None:
    """None for an empty cell. Raises InputError."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}, line {line}: {column} {text!r} is not a finite number")
    return value


def correlations(points: Sequence[Point]) -> dict[str, dict[str, float]]:
    """{"pearson": {"r": .., "p": ..}, "spearman": .., "kendall": ..}; p is two-sided.

    Empty where there is nothing to correlate: fewer than three points, or all alike in one coordinate.
    """
    x, y = [point.t_stddev for point in points], [point.s_test_loss for point in points]
    if len(points) < FEWEST_POINTS or len(set(x)) < 2 or len(set(y)) < 2:
        return {}
    results = {name: coefficient(x, y) for name, coefficient in COEFFICIENTS.items()}
    return {name: {"r": float(found[0]), "p": float(found[1])} for name, found in results.items()}


def shown(found: dict[str, dict[str, float]], points: int) -> str:
    """The coefficients, or why there are none, in a line."""
    if found:
        return ", ".join(f"{name.capitalize()} {c['r']:.4f} (p = {c['p']:.2g})" for name, c in found.items())
    if points < FEWEST_POINTS:
        return f"too few points for a correlation: {points}, at least {FEWEST_POINTS} are needed"
    return "no correlation: all points are alike in one coordinate"


def caption(found: dict[str, dict[str, float]], points: int) -> str:
    """The same in two short lines, for a panel."""
    if not found:
        return shown(found, points)
    return "\n".join(
        (
            "    ".join(f"{name.capitalize()} {c['r']:.3f}" for name, c in found.items()),
            "    ".join(f"p = {c['p']:.1g}" for c in found.values()),
        )
    )


def ordered(augmentations: Iterable[str]) -> list[str]:
    """Without repetition: the paper's schemes in its order, then others by name."""
    known = list(STYLES)
    return sorted(
        set(augmentations), key=lambda name: (known.index(name) if name in known else len(known), name)
    )


def styles_of(augmentations: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each scheme."""
    others = [name for name in augmentations if name not in STYLES]
    extra = {name: (OTHER_COLOURS[i % len(OTHER_COLOURS)], "hdp8"[i % 4]) for i, name in enumerate(others)}
    return {name: STYLES.get(name) or extra[name] for name in augmentations}


def draw(pairs: dict[Pair, list[Point]], path: Path) -> None:
    """One panel a pair, a common legend below. Raises InputError if the file cannot be written."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = ordered(point.augmentation for points in pairs.values() for point in points)
    styles = styles_of(names)
    columns = min(4, len(pairs))
    rows = -(-len(pairs) // columns)
    fonts = {"font.size": 10, "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context({**fonts, "savefig.dpi": 200}):
        legend_columns = min(len(names), 3 if columns == 1 else 5)
        legend_rows = -(-len(names) // legend_columns)
        legend_height = 0.15 + 0.24 * legend_rows
        width, height = max(5.4, 4.2 * columns), (4.3 if columns == 1 else 3.9) * rows + legend_height
        figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
        for axis, (pair, points) in zip(axes.flat, pairs.items()):
            _draw_panel(axis, pair, points, styles)
        for axis in axes.flat[len(pairs) :]:
            axis.set_axis_off()
        handles = [
            plt.Line2D(
                [], [], linestyle="", color=styles[name][0], marker=styles[name][1], markersize=7, label=name
            )
            for name in names
        ]
        figure.legend(handles=handles, loc="lower center", ncols=legend_columns, frameon=False, fontsize=9,
                      handletextpad=0.2, columnspacing=1.2)  # fmt: skip
        figure.tight_layout(rect=(0, legend_height / height, 1, 1), w_pad=2, h_pad=2)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
        except (OSError, ValueError) as error:  # ValueError: a format that matplotlib does not know
            raise InputError(f"cannot write {path}: {error}") from None
        plt.close(figure)


def _draw_panel(axis: Any, pair: Pair, points: Sequence[Point], styles: dict[str, tuple[str, str]]) -> None:
    dataset, teacher, student = pair
    found = correlations(points)
    axis.set_title(f"{teacher} / {student} ({dataset})", fontweight="bold", pad=32)
    axis.text(0.5, 1.03, caption(found, len(points)), transform=axis.transAxes, ha="center", va="bottom",
              fontsize=8.5, linespacing=1.4)  # fmt: skip
    if found:
        fit = stats.linregress(*zip(*((p.t_stddev, p.s_test_loss) for p in points)))
        ends = [min(p.t_stddev for p in points), max(p.t_stddev for p in points)]
        axis.plot(ends, [fit.slope * x + fit.intercept for x in ends], color="0.75", linewidth=1, zorder=1)
    for point in points:
        colour, marker = styles[point.augmentation]
        axis.scatter(point.t_stddev, point.s_test_loss, color=colour, marker=marker, zorder=3,
                     s=SIZES.get(marker, 52), edgecolor="white", linewidth=0.5)  # fmt: skip
    axis.margins(0.08)
    axis.locator_params(nbins=5)
    axis.grid(color="0.93", zorder=0)
    axis.set_axisbelow(True)
    axis.set_xlabel("T. stddev")
    axis.set_ylabel("S. test loss")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("csv", type=Path, metavar="CSV", help="table of results")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the figure: .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="print the coefficients as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    options = parse(argv)
    pairs, incomplete = read_points(options.csv)
    found = {pair: correlations(points) for pair, points in pairs.items()}
    if options.json:
        keys = COLUMNS[:3]
        print(
            json.dumps([{**dict(zip(keys, p)), "points": len(pairs[p]), **found[p]} for p in pairs], indent=1)
        )
    else:
        for (dataset, teacher, student), points in pairs.items():
            text = shown(found[dataset, teacher, student], len(points))
            print(f"{dataset}, {teacher} / {student}, {len(points)} schemes: {text}")
    if incomplete:
        print(f"{PROGRAM}: {incomplete} rows without both values are left out", file=sys.stderr)
    if options.output is None:
        return
    if not any(pairs.values()):
        raise InputError(f"{options.csv} has no point to draw")
    draw({pair: points for pair, points in pairs.items() if points}, options.output)
    print(f"figure: {options.output}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.stderr.write(f"{PROGRAM}: error: {error}\n")
        raise SystemExit(2) from None
