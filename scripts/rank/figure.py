"""The figure of a ranking: a line for each scheme, in the table's order.

Left: T. stddev. Right: the measure of the guard, its rejected part shaded. Both with intervals.
Filled is ranked, hollow unproven, struck out without signal.
"""

import itertools
import re
from pathlib import Path
from typing import Any

from helper.run.atomic import write_result
from scripts.results import style
from scripts.results.figures import render
from scripts.results.style import Look, plt

SHOWN = ("consistency", "balance", "information")
"""Measures that a row has; with another guard, balance is drawn."""
WIDTH, LINE, REST = 4.6, 0.25, 1.5
"""Inches: the figure, a scheme, title and axis together. 8 points can be read at 400 pixels."""
LETTERS, GAP = 0.56, 0.3
"""A scheme's height, in units of LINE: a line of 8 points, and the space between two schemes."""
NAME = 26
"""Letters of a scheme on one line; a longer one goes on below, if it has a place to break."""
LONG_TITLE = 44


def draw(found: dict[str, Any], path: Path) -> None:
    """found: what `output.as_dict` makes. As PNG, SVG or PDF, by the file's name."""
    with style.drawing():
        write_result(path, render(make(found), path.suffix[1:]))


def make(found: dict[str, Any]) -> Any:
    """The figure, to be made and rendered within `style.drawing`."""
    rows = [row for row in found["schemes"] if row["t_stddev"] is not None]
    looks = style.looks(row["scheme"] for row in rows)
    measure = found["guard"] if found["guard"] in SHOWN else "balance"
    names = [_named(row, rows) for row in rows]
    heights = [max(1.0, LETTERS * (name.count("\n") + 1) + GAP) for name in names]
    ends, height = list(itertools.accumulate(heights)), max(1.0, sum(heights))
    figure, (left, right) = plt.subplots(
        ncols=2, sharey=True, width_ratios=(1.5, 1), layout="constrained",
        figsize=(WIDTH, LINE * height + REST),
    )  # fmt: skip
    places = [end - own / 2 for end, own in zip(ends, heights)]
    for place, row in zip(places, rows):
        _point(left, row, "t_stddev", place, looks[row["scheme"]], factor=1000)
        _point(right, row, measure, place, looks[row["scheme"]])
    left.set_yticks(places, names, fontsize=8)
    left.set_ylim(height, 0)
    for axis in (left, right):
        axis.tick_params(axis="y", length=0)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="y", color="0.5", alpha=0.15)
    left.set_xlabel("T. stddev x 1e-3\n(lower: a better student\nis expected)", fontsize=8)
    right.set_xlabel(f"{measure}\n({guard_words(found)})", fontsize=8)
    right.margins(x=0.1)  # no marker is cut
    if measure == found["guard"]:
        _shade(right, found["border"])
    best = f"best: {found['best']}" if found["best"] else "no single best"
    figure.suptitle(f"{found['teacher']} on {found['dataset']}\n{best}",
                    fontsize=8 if len(best) > LONG_TITLE else 10)  # fmt: skip
    figure.supxlabel("filled: ranked, hollow: unproven, struck out: no signal", fontsize=8)
    return figure


def guard_words(found: dict[str, Any]) -> str:
    """How far the guard can be believed, in a few words."""
    return f"guard, {found['guard_state'].split(':')[0].split(',')[0]}"


def _named(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The place, if the scheme has one, and the scheme, in lines of about NAME letters."""
    groups = [each["group"] for each in rows]
    tie = "=" if groups.count(row["group"]) > 1 else ""
    lines = [""] if row["group"] is None else [f"{row['group']}{tie} "]
    for part in re.split(r"(?<=[:,+])", row["scheme"]):
        if len(lines[-1] + part) > NAME and lines[-1].strip():
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _shade(axis: Any, border: float) -> None:
    """Values below the guard's border."""
    low, high = axis.get_xlim()
    low, high = min(low, border - 0.05), max(high, border + 0.05)
    axis.set_xlim(low, high)
    axis.axvspan(low, border, color="0.5", alpha=0.15, linewidth=0, zorder=0)
    axis.set_title("shaded: no signal", fontsize=8, color=style.SOFT)


def _point(
    axis: Any, row: dict[str, Any], name: str, place: float, look: Look, *, factor: float = 1
) -> None:
    """A measure of a scheme with its interval, if it has one."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if low is not None:
        axis.plot([factor * low, factor * high], [place, place], color=look.colour, linewidth=1)
    style.mark(axis, factor * row[name], place, look, verdict=row["verdict"], size=36)
