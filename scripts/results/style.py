"""The style of all figures: a colour and a marker for each scheme, on a light or a dark page.

A scheme looks the same in every figure. The colour says the family, the marker says which member.
Schemes of one figure do not share both (of one family, up to 14). A verdict changes how a marker is
filled, never its colour.
Colours have a contrast of at least 3 to their page (WCAG 2.1, 1.4.11), and go with a marker
everywhere, so no reader depends on them alone.
"""

import warnings
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


class Look(NamedTuple):
    """How a scheme is drawn. colour: #rrggbb. marker: one of matplotlib's."""

    colour: str
    marker: str

    @property
    def area(self) -> float:
        """A multiple, so that all markers look equally large."""
        return AREAS.get(self.marker, 1.0)


# Okabe and Ito's colours, where needed darker for a white page.
PUBLISHED = {
    "none": Look("#5c6bc0", "p"),
    "identity": Look("#1c1e21", "o"),
    "flip": Look("#767c84", "s"),
    "crop+flip": Look("#2b8fc4", "D"),
    "cutout": Look("#0060a0", "v"),
    "autoaugment": Look("#b57a00", "^"),
    "mixup": Look("#b8528f", "P"),
    "cutmix": Look("#00805d", "X"),
    "cutmix_pick_student_entropy": Look("#8f4a2b", "<"),
    "cutmix_pick_teacher_entropy": Look("#d55e00", "*"),
}
"""The paper's schemes, in the order of its tables."""
FAMILIES = {
    "cutmix_pick": "#d55e00", "randaugment": "#b57a00", "trivialaugment": "#b57a00",
    "noise": "#c2185b", "patches": "#7b3294", "resizedcrop": "#558b2f", "mean": "#00838f",
    "grayscale": "#8d6e63", "channels": "#8d6e63", "invert": "#8d6e63", "grey": "#767c84",
    "other": "#767c84",
}  # fmt: skip
"""Colours of families that the paper does not have; its own are those of PUBLISHED."""
OTHER_COLOURS = ("#5c6bc0", "#827717", "#ad1457", "#00796b")
VARIANTS = ("h", "d", "8", ">", "H", "p", "v", "^", "<", "s", "D", "o", "P", "X")
"""Markers of members that are not the paper's."""
AREAS = {"*": 1.9, "X": 1.3, "P": 1.3, "d": 1.2}
"""Markers that look small."""

DARK = {
    "#1c1e21": "#e6e8ea", "#767c84": "#a2a8b0", "#5c6bc0": "#8f9cf0", "#2b8fc4": "#56b4e9",
    "#0060a0": "#4a94d8", "#b57a00": "#e69f00", "#b8528f": "#e08fc0", "#00805d": "#1fbf8f",
    "#8f4a2b": "#c98a63", "#d55e00": "#ff8040", "#c2185b": "#ff6f9f", "#7b3294": "#c58be0",
    "#558b2f": "#9ccc65", "#00838f": "#4dd0e1", "#8d6e63": "#bcaaa4", "#827717": "#d4c94a",
    "#ad1457": "#f48fb1", "#00796b": "#4db6ac",
}  # fmt: skip
"""Colour on a light page -> the same on a dark page. The first two are also ink and soft ink."""
PAGES = {False: "#ffffff", True: "#0d1117"}
"""Behind a light and a dark picture. The dark one is GitHub's."""
INK, SOFT = "#1c1e21", "#767c84"

ALIASES = {
    "cutmix_pick:student": "cutmix_pick_student_entropy",
    "cutmix_pick:teacher": "cutmix_pick_teacher_entropy",
    "cutmix_pick:criterion=student_entropy": "cutmix_pick_student_entropy",
    "cutmix_pick:criterion=teacher_entropy": "cutmix_pick_teacher_entropy",
}
"""Other spellings of the two picks."""


def in_order(names: Iterable[str]) -> list[str]:
    """Without repetition: the paper's schemes in its order, then others by name."""
    rank = {name: place for place, name in enumerate(PUBLISHED)}
    return sorted(set(names), key=lambda n: (rank.get(ALIASES.get(n, n), len(rank)), n))


def looks(names: Iterable[str], *, dark: bool = False) -> dict[str, Look]:
    """The look of each scheme, in order. A name is spelled as in tables or as --mix_mode."""
    found: dict[str, Look] = {}
    for name in in_order(names):
        look = PUBLISHED.get(ALIASES.get(name, name)) or _other(name, set(found.values()))
        found[name] = look
    return {
        name: Look(on_page(look.colour, dark=dark), look.marker) for name, look in found.items()
    }


def _other(name: str, taken: Collection[Look]) -> Look:
    """Colour and first marker follow from the name; where that look is taken, the next marker."""
    family = name.split("+")[-1].split(":")[0]
    known = PUBLISHED[family].colour if family in PUBLISHED else FAMILIES.get(family)
    colour = known or OTHER_COLOURS[zlib.crc32(family.encode()) % len(OTHER_COLOURS)]
    first = zlib.crc32(name.encode()) % len(VARIANTS)
    possible = [Look(colour, marker) for marker in (*VARIANTS[first:], *VARIANTS[:first])]
    return next((look for look in possible if look not in taken), possible[0])


def on_page(colour: str, *, dark: bool) -> str:
    """A colour of this module as the page asks."""
    return DARK.get(colour, colour) if dark else colour


VERDICTS = ("ranked", "unproven", "no signal")
"""Filled; hollow; hollow with a stroke through it."""
STROKE: Any = (2, 2, -45)
"""A slash, as a marker."""


def mark(
    axis: Any, x: float, y: float, look: Look, *, verdict: str = "ranked", size: float = 50
) -> None:
    """A scheme's marker at (x, y). size: area in square points. ValueError for another verdict."""
    if verdict not in VERDICTS:
        raise ValueError(f"verdict {verdict!r} is none of {', '.join(VERDICTS)}")
    face = look.colour if verdict == "ranked" else "none"
    axis.scatter(x, y, s=size * look.area, marker=look.marker, facecolors=face,
                 edgecolors=look.colour, linewidths=1.2, zorder=3, alpha=0.9)  # fmt: skip
    if verdict == "no signal":
        axis.scatter(x, y, s=size * 4, marker=STROKE, color=look.colour, linewidths=1.1, zorder=4)


def handle(name: str, look: Look, *, verdict: str = "ranked") -> Any:
    """An entry of a legend."""
    face = look.colour if verdict == "ranked" else "none"
    return plt.Line2D([], [], linestyle="", marker=look.marker, markersize=7, label=name,
                      color=look.colour, markerfacecolor=face)  # fmt: skip


@contextmanager
def drawing(*, dark: bool = False) -> Iterator[None]:
    """Within: this style. A character that the font lacks is an empty box, and no warning."""
    ink, page = on_page(INK, dark=dark), PAGES[dark]
    colours: dict[Any, Any] = {
        "text.color": ink, "axes.labelcolor": ink, "axes.edgecolor": ink, "xtick.color": ink,
        "ytick.color": ink, "figure.facecolor": page, "axes.facecolor": page,
        "savefig.facecolor": page,
    }  # fmt: skip
    with plt.rc_context(SETTINGS | colours if dark else SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph")
        yield


SETTINGS: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 200,
    "text.parse_math": False,  # names are not formulae, whatever they contain
    "svg.hashsalt": "",  # the same figure gives the same file
    "svg.fonttype": "none",
}


def with_variables(svg: str) -> str:
    """For an inline SVG: each of these colours becomes a variable that `dark_variables` sets."""
    for colour in DARK:
        svg = svg.replace(f": {colour}", f": var(--c{colour[1:]}, {colour})")
    return svg


def dark_variables() -> str:
    """The declarations for a page's dark mode."""
    return " ".join(f"--c{light[1:]}: {dark};" for light, dark in DARK.items())
