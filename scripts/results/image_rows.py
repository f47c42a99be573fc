"""A picture of rows of images, with labels at the left and numbers above."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from helper.errors import UserError, reason_of
from scripts.results.style import PUBLISHED, drawing, looks, mark, plt

NO_DATE = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""By the suffixes we write: the metadata that would make two equal pictures differ."""
DPI, CELL, GAP, LABEL, LINE = 200, 144, 24, 330, 30
"""Pixels: smallest side of an image, space between two, width of labels, height of a text line."""
KEPT, FRAME = PUBLISHED["cutmix_pick_teacher_entropy"].colour, 8


class Row(NamedTuple):
    """images: (n, H, W, 3) uint8. texts: below the images, one each or none.

    kept: framed if true, dimmed if false. scheme: its marker stands beside the label, unless it
    is empty.
    """

    label: str
    images: np.ndarray
    texts: Sequence[str] = ()
    kept: bool | None = None
    scheme: str = ""


def draw(rows: Sequence[Row], caption: str, path: Path) -> None:
    """A row of images each, labels at the left, numbers above. One unit is a pixel.

    UserError if it cannot be written.
    """
    cell, tops, bottom = layout(rows)
    width = LABEL + len(rows[0].images) * (cell + GAP)
    lines = textwrap.wrap(caption, (width - 2 * GAP) // 11)
    height = bottom + LINE * (len(lines) + 1)
    markers = looks(row.scheme for row in rows if row.scheme)
    with drawing(), plt.rc_context({"font.size": 7.5, "image.composite_image": False}):
        figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        axes = figure.add_axes((0, 0, 1, 1))
        for row, top in zip(rows, tops):
            axes.text(2 * GAP, top + cell / 2, row.label, va="center", fontsize=8.5)
            if row.scheme:
                mark(axes, GAP, top + cell / 2, markers[row.scheme])
            for column, image in enumerate(row.images):
                _draw_cell(axes, row, column, image, cell=cell, top=top)
        for column in range(len(rows[0].images) if rows[0].kept is None else 0):
            middle = left_of(column, cell) + cell / 2
            axes.text(middle, tops[0] - GAP / 2, str(column + 1), ha="center", color="0.4")
        axes.text(GAP, bottom, "\n".join(lines), va="top", linespacing=1.3)
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=DPI, metadata=NO_DATE[path.suffix.lower()])
        except OSError as error:
            raise UserError(f"cannot write {path}: {reason_of(error)}") from None
        finally:
            plt.close(figure)


def layout(rows: Sequence[Row]) -> tuple[int, list[int], int]:
    """(side of a cell: a whole multiple of the image's, rows' upper edges, last lower edge)."""
    side = rows[0].images.shape[1]
    cell, tops, y = side * -(-CELL // side), [], LINE + GAP
    for row in rows:
        tops.append(y)
        y += cell + GAP + LINE * (1 + row.texts[0].count("\n") if row.texts else 0)
    return cell, tops, y


def left_of(column: int, cell: int) -> int:
    return LABEL + column * (cell + GAP)


def _draw_cell(axes: Any, row: Row, column: int, image: np.ndarray, *, cell: int, top: int) -> None:
    left = left_of(column, cell)
    shown = image // 3 + 170 if row.kept is False else image
    axes.imshow(
        shown, extent=(left, left + cell, top + cell, top), interpolation="nearest", aspect="auto"
    )
    if row.kept:
        near, far = (
            -FRAME / 2 - 2,
            cell + FRAME / 2 + 2,
        )  # beside the image, so that it shows on any image
        x, y = np.array([[near, far, far, near, near], [near, near, far, far, near]])
        axes.plot(
            left + x, top + y, color=KEPT, linewidth=FRAME * 72 / DPI, solid_joinstyle="miter"
        )
    if row.texts:
        colour = "0.4" if row.kept is False else "black"
        middle, below = left + cell / 2, top + cell + 0.7 * GAP
        axes.text(middle, below, row.texts[column], ha="center", va="top", color=colour)
