"""The figure of a ranking: T. stddev against the guard, with intervals.

What says nothing is shaded.
"""

import io
from pathlib import Path
from typing import Any

from helper.run.checkpoint import write_atomically
from scripts.results import style
from scripts.results.style import Look, plt

SHOWN = ("consistency", "balance", "information")
"""Measures that a row has; with another guard, balance is drawn."""
WIDTH, PANEL, LINE = 4.6, 3.9, 0.148
"""Inches. So narrow that 8 points can be read where the figure is 400 pixels wide."""
LONG_NAME = 44


def draw(found: dict[str, Any], path: Path) -> None:
    """found: what `output.as_dict` makes. As PNG, SVG or PDF, by the file's name."""
    kind, buffer = path.suffix[1:], io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with style.drawing():
        figure = make(found)
        figure.savefig(buffer, metadata=metadata, format=kind)
        plt.close(figure)
    write_atomically(path, buffer.getbuffer())


def make(found: dict[str, Any]) -> Any:
    """Above: the points, numbered. Below: the names of the numbers. To be called within
    `style.drawing`."""
    rows = [row for row in found["schemes"] if row["t_stddev"] is not None]
    looks = style.looks(row["scheme"] for row in rows)
    measure = found["guard"] if found["guard"] in SHOWN else "balance"
    names = LINE * (len(rows) + 1)
    figure, axis = plt.subplots(figsize=(WIDTH, PANEL + names))
    by_x = sorted(rows, key=lambda row: row["t_stddev"])
    for place, row in enumerate(by_x):
        is_best, is_below = (
            row["scheme"] == found["best"],
            place % 2 == 1,
        )  # neighbours collide less
        _point(axis, row, looks[row["scheme"]], measure=measure, is_best=is_best)
        axis.annotate(str(rows.index(row) + 1), (1000 * row["t_stddev"], row[measure]), textcoords="offset points",
                      xytext=(0, -7 if is_below else 6), ha="center", va="top" if is_below else "bottom", fontsize=8,
                      fontweight="bold" if is_best else "normal", color=looks[row["scheme"]].colour)  # fmt: skip
    axis.margins(y=0.1)
    if measure == found["guard"]:
        _shade(axis, found["border"])
    axis.set_xlabel("T. stddev x 1e-3 (lower: a better student is expected)", fontsize=9)
    axis.set_ylabel(f"{measure} ({guard_words(found)})", fontsize=9)
    axis.grid(color="0.5", alpha=0.15)
    best = f"best: {found['best']}" if found["best"] else "no single best"
    axis.set_title(f"{found['teacher']} on {found['dataset']}\n{best}", fontsize=8 if len(best) > LONG_NAME else 10)  # fmt: skip
    figure.tight_layout(rect=(0, names / (PANEL + names), 1, 1))
    handles = [_handle(row, number, looks[row["scheme"]]) for number, row in enumerate(rows, 1)]
    figure.legend(handles=handles, loc="lower left", frameon=False, fontsize=8, handletextpad=0.3,
                  labelspacing=0.35, borderpad=0.1)  # fmt: skip
    return figure


def guard_words(found: dict[str, Any]) -> str:
    """How far the guard can be believed, in a few words."""
    return f"guard, {found['guard_state'].split(':')[0].split(',')[0]}"


def _shade(axis: Any, border: float) -> None:
    """Below the guard's border."""
    low, high = axis.get_ylim()
    low, high = min(low, border - 0.05), max(high, border + 0.05)
    axis.set_ylim(low, high)
    axis.axhspan(low, border, color="0.5", alpha=0.15, linewidth=0, zorder=0)
    axis.annotate("no signal", (1, border), xycoords=("axes fraction", "data"), xytext=(-4, -4),
                  textcoords="offset points", ha="right", va="top", fontsize=9, color=style.SOFT)  # fmt: skip


def _point(axis: Any, row: dict[str, Any], look: Look, *, measure: str, is_best: bool) -> None:
    x, y = 1000 * row["t_stddev"], row[measure]
    axis.errorbar(x, y, xerr=_lengths(row, "t_stddev", 1000), yerr=_lengths(row, measure), fmt="none",
                  ecolor=look.colour, elinewidth=0.8, alpha=0.6)  # fmt: skip
    style.mark(axis, x, y, look, verdict=row["verdict"], size=90 if is_best else 40)


def _lengths(row: dict[str, Any], name: str, factor: float = 1) -> list[list[float]] | None:
    """Below and above the value; None where there is no interval."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return None if low is None else [[factor * (row[name] - low)], [factor * (high - row[name])]]


def _handle(row: dict[str, Any], number: int, look: Look) -> Any:
    note = "" if row["verdict"] == "ranked" else f" ({row['verdict']})"
    return style.handle(f"{number} {row['scheme']}{note}", look, verdict=row["verdict"])
