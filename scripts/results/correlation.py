"""Points of T. stddev against S. test loss, and how they correlate."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from helper.errors import UserError
from scripts.results.groups import Group, Results
from scripts.results.option_list import printable
from scipy import stats

COLUMNS = ("dataset", "teacher", "student", "augmentation", "t_stddev", "s_test_loss")
"""That a CSV file must have. It may have `method` and `s_test_loss_std`."""
COEFFICIENTS = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}
FEWEST_POINTS = 3
SIGNIFICANT = 0.05

Correlations = Mapping[str, Mapping[str, float]]
"""{"pearson": {"r": .., "p": ..}, "spearman": .., "kendall": ..}; p is two-sided. Empty: there are
none."""


class Point(NamedTuple):
    """One DA scheme."""

    augmentation: str
    t_stddev: float
    s_test_loss: float
    spread: float = 0.0
    """Standard deviation of the loss over trials; 0 where it is not known."""


def points_of(results: Results) -> tuple[dict[Group, list[Point]], int]:
    """(points by group, number of schemes left out for want of one of the two values)."""
    found, incomplete = {}, 0
    for group, rows in results.groups.items():
        points = found.setdefault(group, [])
        for row in rows:
            x, y = row.mean("t_stddev"), row.mean("s_test_loss")
            if x is None or y is None:
                incomplete += 1
            else:
                points.append(Point(row.key.augmentation, x, y, row.spread("s_test_loss") or 0.0))
    return found, incomplete


def read_points(path: Path) -> tuple[dict[Group, list[Point]], int]:
    """The same from a CSV file. Raises UserError."""
    groups: dict[Group, list[Point]] = {}
    incomplete, shown_path = 0, printable(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{shown_path} lacks the columns {', '.join(missing)}")
            for row in reader:
                names = [printable(row.get(name, "")) for name in (*COLUMNS[:3], "method")]
                where = f"{shown_path}, line {reader.line_num}"
                x, y = (_number(row[name], name, where) for name in COLUMNS[-2:])
                spread = _number(row.get("s_test_loss_std", ""), "s_test_loss_std", where) or 0.0
                points = groups.setdefault(Group(*names), [])
                if x is None or y is None:
                    incomplete += 1
                else:
                    points.append(Point(printable(row["augmentation"]), x, y, max(0.0, spread)))
    except OSError as error:
        raise UserError(f"cannot read {shown_path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{shown_path} is not a text file") from None
    except csv.Error as error:
        raise UserError(f"{shown_path} is no CSV file: {error}") from None
    return groups, incomplete


def _number(text: str, column: str, where: str) -> float | None:
    """None for an empty cell. Raises UserError."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {column} {printable(text)[:40]!r} is not a finite number")
    return value


def correlations(points: Sequence[Point]) -> Correlations:
    """None if there is nothing to correlate: under three points, or all alike in a coordinate."""
    x, y = [point.t_stddev for point in points], [point.s_test_loss for point in points]
    if len(points) < FEWEST_POINTS or len(set(x)) < 2 or len(set(y)) < 2:
        return {}
    results = {name: coefficient(x, y) for name, coefficient in COEFFICIENTS.items()}
    return {name: {"r": float(found[0]), "p": float(found[1])} for name, found in results.items()}


def is_significant(found: Correlations) -> bool:
    """True if the points lie along a line: the p-value of Pearson's r is below 0.05."""
    return bool(found) and found["pearson"]["p"] < SIGNIFICANT


def p_text(p: float, digits: int) -> str:
    """ "p = 0.012"; scipy's 0 is a number too small for it."""
    return f"p = {p:.{digits}g}" if p >= 1e-15 else "p < 1e-15"


def shown(found: Correlations, points: int) -> str:
    """The coefficients, or why there are none, in a line."""
    if found:
        return ", ".join(
            f"{name.capitalize()} {c['r']:.4f} ({p_text(c['p'], 2)})" for name, c in found.items()
        )
    if points < FEWEST_POINTS:
        return f"too few points for a correlation: {points}, at least {FEWEST_POINTS} are needed"
    return "no correlation: all points are alike in one coordinate"
