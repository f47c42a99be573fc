"""The picture of README.md and RESULTS.md: what the teacher says, and what the students became.

Left: T. stddev of each second view, from the teacher alone. Right: the students that were trained
under these views. Filled: ranked; hollow: unproven; struck out: no signal, by the guard of
helper/step/guard.py.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from PIL import Image
from scipy.stats import spearmanr

from helper.run.atomic import write_result
from helper.step.guard import Guard
from helper.step.intervals import Interval
from helper.step.view_stats import ViewStatistics
from scripts.measured.points import HERE, Point, points, read
from scripts.rank.schemes import canonical
from scripts.results.figures import render
from scripts.results.style import ALIASES, SOFT, Look, drawing, looks, mark, on_page, plt

COLUMNS = {
    "t_stddev": "T", "t_share": "T_share", "consistency": "R", "balance": "B", "information": "MI",
    "information_share": "MI_share",
}  # fmt: skip
"""The guard's words -> columns of measures.csv."""
FEWEST = 5
"""Schemes with students that a coefficient and a picture need."""
HIGHEST = 1.9
"""Students above this multiple of identity's S. test loss are drawn at the upper edge."""
LONGEST = 26
"""Characters of a label; the table beside the picture has the whole name."""
TICKS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6)
"""S. test losses that the right panel's axis names."""


class Measured(NamedTuple):
    """A row of measures.csv, as the guard reads it."""

    row: dict[str, str]

    def is_finite(self) -> bool:
        return math.isfinite(float(self.row["T"]))

    def measure(self, name: str, confidence: float = 0.95) -> Interval:
        """The file has intervals of 95 % alone."""
        column = COLUMNS[name]
        return Interval(*(float(self.row[f"{column}{end}"]) for end in ("", "_low", "_high")))


class Drawn(NamedTuple):
    """A scheme of the picture. t: T. stddev as a share of identity's, with its interval."""

    scheme: str
    t: Interval
    verdict: str
    point: Point | None
    """Its students, if any."""


def drawn_schemes(setup: str) -> list[Drawn]:
    """The schemes that were measured with a setup's teacher, lowest T. stddev first."""
    students, guard, found = {p.scheme: p for p in points(setup)}, Guard(), []
    for row in read(HERE / "measures.csv"):
        if row["setup"] == setup:
            measured, scheme = Measured(row), row["scheme"]
            spelled = canonical(ALIASES.get(scheme, scheme))
            verdict = guard.verdict(spelled, cast(ViewStatistics, measured))
            found.append(
                Drawn(scheme, measured.measure("t_share"), verdict.name, students.get(scheme))
            )
    return sorted(found, key=lambda one: one.t.value)


def with_signal(schemes: Sequence[Drawn]) -> list[Drawn]:
    """Those that the guard does not reject."""
    return [one for one in schemes if one.verdict != "no signal"]


def rank_correlation(among: Sequence[Drawn]) -> float:
    """Spearman of T. stddev with S. test loss; NaN for too few schemes with students."""
    t = [one.t.value for one in among if one.point]
    losses = [one.point.loss for one in among if one.point]
    if len(t) < FEWEST:
        return math.nan
    found: Any = spearmanr(t, losses)
    return float(found.statistic)


def draw_all(setup: str, folder: Path, name: str) -> list[Path]:
    """NAME.png, NAME-dark.png, and for a phone NAME-narrow.png, NAME-narrow-dark.png."""
    schemes, files = drawn_schemes(setup), []
    for narrow in (False, True):
        for dark in (False, True):
            path = folder / f"{name}{'-narrow' * narrow}{'-dark' * dark}.png"
            with drawing(dark=dark), plt.rc_context({"savefig.dpi": 150}):
                picture = render(draw(schemes, narrow=narrow, dark=dark), "png")
            write_result(path, with_palette(picture))
            files.append(path)
    return files


def with_palette(png: bytes) -> bytes:
    """The same picture in 256 colours: a third of the size."""
    buffer, image = io.BytesIO(), Image.open(io.BytesIO(png)).convert("RGB")
    image = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def draw(schemes: Sequence[Drawn], *, narrow: bool, dark: bool) -> Any:
    """Both panels, side by side or one above the other."""
    styles = looks((one.scheme for one in schemes), dark=dark)
    height = max(1.1 + 0.2 * len(schemes), 3.4)
    shape: dict[str, Any] = {"ncols": 2, "figsize": (9.6, height), "width_ratios": (1, 1.15)}
    if narrow:
        shape = {"nrows": 2, "figsize": (4.4, height + 4.4), "height_ratios": (height, 4.4)}
    figure, (left, right) = plt.subplots(layout="constrained", **shape)
    for axis, end in ((left, 1), (right, 0.7)):  # clear of the words
        axis.axvline(1, 0, end, color=on_page(SOFT, dark=dark), linewidth=0.8, linestyle=":")
        axis.set_xlabel("T. stddev / identity's")
    _teacher_panel(left, schemes, styles)
    # On a phone long names leave the title less room than it takes: it may stand above them.
    left.set_title("The teacher alone, 95 % intervals", loc="right" if narrow else "left")
    _student_panel(right, schemes, styles)
    _words(right, schemes, colour=on_page(SOFT, dark=dark))
    return figure


def label(scheme: str) -> str:
    """A long name without its middle: schemes of one kind differ at their ends."""
    if len(scheme) <= LONGEST:
        return scheme
    half = LONGEST // 2
    return f"{scheme[: LONGEST - half - 1]}…{scheme[-half:]}"


def _teacher_panel(axis: Any, schemes: Sequence[Drawn], styles: dict[str, Look]) -> None:
    """A line for each scheme; this is also the legend of the other panel."""
    for place, one in enumerate(schemes):
        look = styles[one.scheme]
        axis.plot([one.t.low, one.t.high], [place, place], color=look.colour, linewidth=1.1)
        mark(axis, one.t.value, place, look, verdict=one.verdict, size=38)
    axis.set_yticks(range(len(schemes)), [label(one.scheme) for one in schemes], fontsize=8.5)
    axis.set_ylim(len(schemes) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)


def _student_panel(axis: Any, schemes: Sequence[Drawn], styles: dict[str, Look]) -> None:
    """Students far above the others stand above all bars, with their loss.

    The scale is logarithmic, because most students lie close to each other and to identity's.
    """
    with_students = [(one, one.point) for one in schemes if one.point]
    identity = with_students[0][1].identity
    within = [point for _, point in with_students if point.loss <= HIGHEST * identity]
    top = 1.06 * max(point.loss + _bar(point) for point in within)
    for one, point in with_students:
        look, x, y = styles[one.scheme], one.t.value, point.loss
        if point not in within:
            y = top
            axis.annotate(f"{point.loss:.2f} ↑", (x, y), xytext=(8, -4), textcoords="offset points",
                          fontsize=8.5)  # fmt: skip
        elif _bar(point):
            axis.errorbar(x, y, yerr=_bar(point), color=look.colour, elinewidth=0.9)
        mark(axis, x, y, look, verdict=one.verdict, size=55)
    axis.axhline(identity, color=axis.lines[0].get_color(), linewidth=0.8, linestyle=":")
    low = 0.96 * min(point.loss - _bar(point) for point in within)
    high = top * (top / low) ** 0.4  # room for words
    axis.set_yscale("log")
    axis.set_ylim(low, high)
    ticks = [tick for tick in TICKS if low <= tick <= top]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_yticks([], minor=True)
    axis.set_ylabel("S. test loss (lower is better)")
    axis.set_title("Students trained under them", loc="left")


def _bar(point: Point) -> float:
    """Two standard errors over the seeds; 0 for one seed."""
    return 2 * point.error if len(point.losses) > 1 else 0.0


def _words(axis: Any, schemes: Sequence[Drawn], *, colour: str) -> None:
    """The meaning of the fillings, with Spearman's coefficients."""
    lines = ["filled: ranked", "hollow: unproven", "struck out: no signal"]
    among = {"Spearman of all": schemes, "not struck out": with_signal(schemes)}
    for title, some in among.items():
        if not math.isnan(found := rank_correlation(some)):
            lines.append(f"{title}: {found:+.2f}")
    axis.text(0.98, 0.98, "\n".join(lines), transform=axis.transAxes, ha="right", va="top",
              fontsize=8.5, color=colour, linespacing=1.5)  # fmt: skip
