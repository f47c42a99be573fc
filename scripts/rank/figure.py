"""The figure of a ranking: T. stddev against the guard, with intervals; what says nothing is shaded."""

import math
from pathlib import Path
from typing import Any

import matplotlib

from helper.step.ranking import Row
from scripts.rank.output import Report

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"ranked": "#0072b2", "unproven": "#e69f00", "no signal": "#999999"}
MARKERS = {"ranked": "o", "unproven": "s", "no signal": "x"}
WINNER = "#d55e00"
SHOWN = ("consistency", "balance", "information")
"""Measures that a row has; another guard is drawn against balance."""


def draw(report: Report, path: Path) -> None:
    """As PNG, SVG or PDF, by the file's name."""
    figure = make(report)
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    figure.savefig(path, dpi=200, metadata=metadata, format=path.suffix[1:])
    plt.close(figure)


def make(report: Report) -> Any:
    """Left: the points, numbered. Right: what the numbers mean."""
    rows = [row for row in report.result.rows if math.isfinite(row.t_stddev.value)]
    measure = report.guard.measure if report.guard.measure in SHOWN else "balance"
    height = max(4.2, 1.2 + 0.2 * len(rows))
    figure, axis = plt.subplots(figsize=(9.5, height), layout="constrained")
    for number, row in enumerate(rows, 1):
        _point(axis, row, number, measure, is_best=row.scheme == report.result.best)
    if measure == report.guard.measure:
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, report.guard.border - 0.05), high)
        axis.axhspan(
            axis.get_ylim()[0], report.guard.border, color="0.5", alpha=0.15, linewidth=0, zorder=0
        )
        axis.annotate("no signal", (1, report.guard.border), xycoords=("axes fraction", "data"),
                      xytext=(-4, -4), textcoords="offset points", ha="right", va="top", color="0.4")  # fmt: skip
    axis.set_xlabel("T. stddev (lower: a better student is expected)")
    axis.set_ylabel(f"{measure} (guard)")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.grid(color="0.5", alpha=0.15)
    best = report.result.best
    named = f"best: {best}" if best else "no single best"
    axis.set_title(f"{report.teacher} on {report.dataset}: {named}", fontsize=11)
    for text in (axis.title, axis.xaxis.label, axis.yaxis.label):
        text.set_parse_math(False)
    _legend(axis, rows, report.result.best)
    return figure


def _point(axis: Any, row: Row, number: int, measure: str, *, is_best: bool) -> None:
    guard, colour = getattr(row, measure), WINNER if is_best else COLOURS[row.verdict.name]
    axis.errorbar(
        row.t_stddev.value,
        guard.value,
        xerr=_lengths(row.t_stddev),
        yerr=_lengths(guard),
        fmt=MARKERS[row.verdict.name],
        color=colour,
        markersize=8 if is_best else 5,
        elinewidth=0.9,
    )
    axis.annotate(str(number), (row.t_stddev.value, guard.value), xytext=(5, 5), textcoords="offset points",
                  fontsize=8, color=colour, fontweight="bold" if is_best else "normal")  # fmt: skip


def _lengths(interval: tuple[float, float, float]) -> list[list[float]] | None:
    """Below and above the value; an interval may lie beside it."""
    value, low, high = interval
    if math.isnan(low):
        return None
    return [[max(0.0, value - low)], [max(0.0, high - value)]]


def _legend(axis: Any, rows: list[Row], best: str | None) -> None:
    handles = [
        plt.Line2D(
            [],
            [],
            linestyle="",
            marker=MARKERS[row.verdict.name],
            color=WINNER if row.scheme == best else COLOURS[row.verdict.name],
            label=f"{number} {row.scheme}" + ("" if row.group else f" ({row.verdict.name})"),
        )
        for number, row in enumerate(rows, 1)
    ]
    legend = axis.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False,
                         fontsize=8, handletextpad=0.3)  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
