"""The figure of a ranking: T. stddev against the guard, with intervals.

What says nothing is shaded.
"""

import io
from pathlib import Path
from typing import Any

import matplotlib

from helper.run.checkpoint import write_atomically

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"ranked": "#0072b2", "unproven": "#e69f00", "no signal": "#888888"}
MARKERS = {"ranked": "o", "unproven": "s", "no signal": "x"}
WINNER = "#d55e00"
SHOWN = ("consistency", "balance", "information")
"""Measures that a row has; with another guard, balance is drawn."""


def draw(found: dict[str, Any], path: Path) -> None:
    """found: what `output.as_dict` makes. As PNG, SVG or PDF, by the file's name."""
    figure, kind, buffer = make(found), path.suffix[1:], io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    figure.savefig(buffer, dpi=200, metadata=metadata, format=kind)
    plt.close(figure)
    write_atomically(path, buffer.getbuffer())


def make(found: dict[str, Any]) -> Any:
    """Left: the points, numbered. Right: what the numbers mean."""
    rows = [row for row in found["schemes"] if row["t_stddev"] is not None]
    measure = found["guard"] if found["guard"] in SHOWN else "balance"
    height = max(4.2, 1.2 + 0.2 * len(rows))
    figure, axis = plt.subplots(figsize=(9.5, height), layout="constrained")
    for number, row in enumerate(rows, 1):
        _point(axis, row, number, measure, is_best=row["scheme"] == found["best"])
    if measure == found["guard"]:
        _shade(axis, found["border"])
    axis.set_xlabel("T. stddev (lower: a better student is expected)")
    axis.set_ylabel(f"{measure} (guard)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="0.5", alpha=0.15)
    named = f"best: {found['best']}" if found["best"] else "no single best"
    axis.set_title(f"{found['teacher']} on {found['dataset']}: {named}", fontsize=11)
    axis.title.set_parse_math(False)
    _legend(axis, rows, found["best"])
    return figure


def _shade(axis: Any, border: float) -> None:
    """Below the guard's border."""
    low, high = axis.get_ylim()
    low = min(low, border - 0.05)
    axis.set_ylim(low, high)
    axis.axhspan(low, border, color="0.5", alpha=0.15, linewidth=0, zorder=0)
    axis.annotate("no signal", (1, border), xycoords=("axes fraction", "data"), xytext=(-4, -4),
                  textcoords="offset points", ha="right", va="top", color="0.4")  # fmt: skip


def _point(axis: Any, row: dict[str, Any], number: int, measure: str, *, is_best: bool) -> None:
    x, y, colour = row["t_stddev"], row[measure], WINNER if is_best else COLOURS[row["verdict"]]
    axis.errorbar(
        x,
        y,
        xerr=_lengths(row, "t_stddev"),
        yerr=_lengths(row, measure),
        fmt=MARKERS[row["verdict"]],
        color=colour,
        markersize=8 if is_best else 5,
        elinewidth=0.9,
    )
    axis.annotate(str(number), (x, y), xytext=(5, 5), textcoords="offset points", fontsize=8, color=colour,
                  fontweight="bold" if is_best else "normal")  # fmt: skip


def _lengths(row: dict[str, Any], name: str) -> list[list[float]] | None:
    """Below and above the value; None where there is no interval."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return None if low is None else [[row[name] - low], [high - row[name]]]


def _legend(axis: Any, rows: list[dict[str, Any]], best: str | None) -> None:
    handles = [
        plt.Line2D(
            [],
            [],
            linestyle="",
            marker=MARKERS[row["verdict"]],
            color=WINNER if row["scheme"] == best else COLOURS[row["verdict"]],
            label=f"{number} {row['scheme']}"
            + ("" if row["verdict"] == "ranked" else f" ({row['verdict']})"),
        )
        for number, row in enumerate(rows, 1)
    ]
    legend = axis.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False,
                         fontsize=8, handletextpad=0.3)  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
