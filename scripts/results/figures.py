"""The figures: scatter plots of S. test loss against T. stddev, learning curves.

Drawn with matplotlib.
"""

import io
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helper.errors import UserError
from helper.run.atomic import write_result
from scripts.results.correlation import (
    FEWEST_POINTS,
    Point,
    correlations,
    is_significant,
    p_text,
    shown,
)
from scripts.results.groups import Group, Row
from scripts.results.logs import Run
from scripts.results.option_list import printable
from scripts.results.style import Look, handle, looks, mark, plt, with_variables
from scipy import stats
from matplotlib import ticker

FORMATS = (".png", ".svg", ".pdf")
SMALLEST, LARGEST = 40, 190
"""Area of a marker without and with the greatest spread, in square points."""


def scatter(groups: Mapping[Group, Sequence[Point]], *, dark: bool = False) -> Any:
    """A figure with one panel a group and a common legend below."""
    names = [point.augmentation for points in groups.values() for point in points]
    styles = looks(names, dark=dark)
    widest = max((point.spread for points in groups.values() for point in points), default=0.0)
    columns = min(4, len(groups))
    rows = -(-len(groups) // columns)
    legend_columns = min(len(styles), 2 if columns == 1 else 5)
    notes = [f"marker area: standard deviation over trials, at most {widest:.3g}"] if widest else []
    if any(
        correlations(points) and not is_significant(correlations(points))
        for points in groups.values()
    ):
        notes.append("thin dashed line: no significant correlation (p of Pearson's at least 0.05)")
    below = 0.1 + 0.18 * -(-len(styles) // legend_columns) + 0.16 * len(notes)
    width, height = (
        4.2 * columns + (0.3 if columns == 1 else 0),
        (4.0 if columns == 1 else 3.9) * rows + below,
    )
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
    for axis, (group, points) in zip(axes.flat, groups.items()):
        _scatter_panel(axis, group, points, styles, widest)
    for axis in axes.flat[len(groups) :]:
        axis.set_axis_off()
    handles = [handle(name, look) for name, look in styles.items()]
    figure.legend(handles=handles, loc="lower center", ncols=legend_columns, frameon=False,
                  fontsize=8.5, handletextpad=0.2, columnspacing=1.0,
                  bbox_to_anchor=(0.5, 0.16 * len(notes) / height))  # fmt: skip
    figure.text(0.5, 0.06 / height, "\n".join(notes), ha="center", va="bottom", fontsize=7.5)
    figure.tight_layout(rect=(0, below / height, 1, 1), w_pad=2, h_pad=2)
    return figure


def _scatter_panel(
    axis: Any,
    group: Group,
    points: Sequence[Point],
    styles: Mapping[str, Look],
    widest: float,
) -> None:
    found = correlations(points)
    method = f", {group.method}" if group.method not in ("", "kd") else ""
    title = f"{group.teacher} / {group.student} ({group.dataset}{method})"
    axis.set_title(title, fontweight="bold", pad=32, fontsize=11 if len(title) < 45 else 8)
    axis.text(0.5, 1.03, caption(found, len(points)), transform=axis.transAxes, ha="center",
              va="bottom", fontsize=8.5, linespacing=1.4)  # fmt: skip
    if found:
        fit: Any = stats.linregress([p.t_stddev for p in points], [p.s_test_loss for p in points])
        ends = [min(p.t_stddev for p in points), max(p.t_stddev for p in points)]
        heights = [fit.slope * x + fit.intercept for x in ends]
        width, kind = (1.2, "-") if is_significant(found) else (0.7, "--")
        axis.plot(ends, heights, color="0.6", zorder=1, linewidth=width, linestyle=kind)
    for point in points:
        look = styles[point.augmentation]
        area = SMALLEST + (LARGEST - SMALLEST) * (point.spread / widest if widest else 0.1)
        mark(axis, point.t_stddev, point.s_test_loss, look, size=area)
    axis.margins(0.1)
    axis.locator_params(axis="x", nbins=4)
    axis.locator_params(axis="y", nbins=5)
    axis.grid(color="0.5", alpha=0.15, zorder=0)
    axis.set_axisbelow(True)
    axis.set_xlabel("T. stddev")
    axis.set_ylabel("S. test loss")


def caption(found: Mapping[str, Mapping[str, float]], points: int) -> str:
    """The coefficients in two short lines, or why there are none."""
    if not found:
        few = points < FEWEST_POINTS
        return (
            f"too few points: {points} of {FEWEST_POINTS} needed" if few else shown(found, points)
        )
    names = "    ".join(f"{name.capitalize()} {c['r']:.3f}" for name, c in found.items())
    return f"{names}\n" + "    ".join(p_text(c["p"], 1) for c in found.values())


def curves(rows: Sequence[Row]) -> Any:
    """A figure of test accuracy above test loss over the epochs, or None where there is no epoch.

    Line: mean over the complete trials; band: one standard deviation; dotted: a run that is not
    complete.
    """
    drawn = [row for row in rows if any(run.curve for run in (*row.distilled, *row.incomplete))]
    if not drawn:
        return None
    styles = looks([row.key.augmentation for row in drawn])
    height = 6.0 + 0.18 * -(-len(styles) // 2)
    figure, axes = plt.subplots(2, 1, figsize=(4.5, height), sharex=True)
    for row in drawn:
        colour, marker = styles[row.key.augmentation]
        for axis, field in zip(axes, ("acc1", "test_loss")):
            _draw_row(axis, row, field, colour, marker)
    axes[0].set_ylabel("S. top-1 in %")
    axes[1].set_ylabel("S. test loss")
    axes[1].set_xlabel("epoch")
    for axis in axes:
        axis.grid(color="0.5", alpha=0.15)
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].locator_params(axis="y", nbins=6)
    _logarithmic(axes[1])
    handles = [
        plt.Line2D([], [], color=colour, marker=marker, markersize=6, label=name)
        for name, (colour, marker) in styles.items()
    ]
    figure.legend(handles=handles, loc="lower center", ncols=min(2, len(styles)), frameon=False,
                  fontsize=8.5, handlelength=1.2, columnspacing=1.0)  # fmt: skip
    figure.tight_layout(rect=(0, (height - 5.95) / height, 1, 1))
    return figure


def _draw_row(axis: Any, row: Row, field: str, colour: str, marker: str) -> None:
    """The lines of one row. field: a name in `EpochResult`."""
    if row.distilled:
        epochs, means, spreads = mean_curve(row.distilled, field)
        low, high = zip(*((m - s, m + s) for m, s in zip(means, spreads))) if means else ((), ())
        axis.plot(epochs, means, color=colour, linewidth=1.2, marker=marker, markevery=[-1])
        axis.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    for run in row.incomplete:
        points = [(epoch, getattr(result, field)) for epoch, result in sorted(run.curve.items())]
        if points and not run.measures:
            axis.plot(*zip(*points), color=colour, linewidth=1, linestyle=":")


def _logarithmic(axis: Any) -> None:
    """A scale on which the peaks of the first epochs leave room for the differences of the last."""
    values = [float(y) for line in axis.lines for y in line.get_ydata() if y > 0]
    if not values:  # a loss of 0, or none that is finite
        return
    axis.set_yscale("log")
    axis.set_ylim(bottom=0.9 * min(values))  # a band may reach below 0
    axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_locator(ticker.NullLocator())


def mean_curve(runs: Sequence[Run], field: str) -> tuple[list[int], list[float], list[float]]:
    """(epochs that all runs have, means, standard deviations over trials, 0 for one)."""
    epochs = sorted(set.intersection(*(set(run.curve) for run in runs)))
    values = [[getattr(run.curve[epoch], field) for run in runs] for epoch in epochs]
    spreads = [statistics.stdev(trials) if len(trials) > 1 else 0.0 for trials in values]
    return epochs, [statistics.fmean(trials) for trials in values], spreads


def save(figure: Any, path: Path) -> None:
    """As PNG, SVG or PDF, by the file's name. Raises UserError."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{printable(path)}: a figure's name ends in one of {', '.join(FORMATS)}")
    write_result(path, render(figure, path.suffix[1:].lower()))


def render(figure: Any, kind: str, *, transparent: bool = False) -> bytes:
    """The figure as a file's content, without date. Closes it."""
    buffer = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    figure.savefig(buffer, format=kind, metadata=metadata, transparent=transparent)
    plt.close(figure)
    return buffer.getvalue()


def inline_svg(figure: Any, *, prefix: str, label: str) -> str:
    """For an HTML page: black is the text's colour there, and the page's dark mode sets others.

    prefix: keeps the ids of several figures on a page apart. label: what the picture shows, already
    escaped.
    """
    text = render(figure, "svg", transparent=True).decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = with_variables(re.sub(r"#000000|#262626", "currentColor", text))
    # Black fills, which matplotlib leaves out, are inherited from the first tag.
    first = (
        f'<svg role="img" aria-label="{label}" fill="currentColor"'
        ' xmlns:xlink="http://www.w3.org/1999/xlink"'
    )
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None  # matplotlib writes one
    return f"{first} {box[0]}>{text[text.index('>') + 1 :]}"
