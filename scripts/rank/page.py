"""A ranking as a section of report.html, from the JSON file of rank_augmentations.py."""

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.rank import figure
from scripts.results import figures, style
from helper.errors import UserError
from scripts.rank.table import HEADER, cells
from scripts.results.option_list import printable

HEAD = ("teacher", "dataset", "best", "guard", "border", "guard_state", "images", "seconds")
BREAKS = re.compile(r"[:=+,_](?=\w)")
"""A long name may go on in the next line after these."""
COLUMNS = ("t_stddev", "consistency", "balance", "information")


def read(path: Path) -> dict[str, Any]:
    """UserError if it is no ranking."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = found["schemes"]
        for name in HEAD:
            found[name]
        for row in rows:
            for name in ("scheme", "verdict", "reason", "group", "steps", "teacher_top1"):
                row[name]
            if row["verdict"] not in style.VERDICTS:
                raise ValueError(row["verdict"])
            for name in (f"{column}{end}" for column in COLUMNS for end in ("", "_low", "_high")):
                if row[name] is not None:
                    float(row[name])
    except OSError as error:
        raise UserError(f"cannot read {printable(path)}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__} {error}"
        raise UserError(
            f"{printable(path)} is no ranking of rank_augmentations.py ({printable(reason)})"
        ) from None
    return found


def section(found: dict[str, Any], number: int) -> str:
    """The table and the figure. Names come from a file and are text here, never markup."""
    title = f"Ranking from the teacher alone: {found['teacher']} on {found['dataset']}"
    best = "No single best: what is tied shares a place."
    if found["best"]:
        best = f"Best: {found['best']}."
    text = (
        f"{best} The lower T. stddev, the better a student is expected to be, as far as"
        f" {found['guard']} is at least {found['border']:g}: a view that says nothing has the"
        f" lowest T. stddev of all. This guard is {found['guard_state']}. {found['images']}"
        f" training images, {found['seconds']:.0f} s."
    )
    rows = found["schemes"]
    body = "".join(f"<tr>{line(cells(row, rows), 'td')}</tr>" for row in rows)
    head = line(HEADER, "th")
    drawn = figures.inline_svg(figure.make(found), prefix=f"r{number}", label=escaped(title))
    return (
        f"<section><h2>{escaped(title)}</h2><p>{escaped(text)}</p>"
        f"<div class=box tabindex=0><table class=ranking><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
        f"<div class=figures><figure>{drawn}</figure></div></section>"
    )


def line(texts: Sequence[str], tag: str) -> str:
    """The verdict's word comes third, its reason last: a narrow page shows the first columns."""
    place, scheme, *numbers, verdict = texts
    word, _, reason = verdict.partition(": ")
    texts = (place, scheme, word, *numbers, reason or ("why" if tag == "th" else ""))
    marked = (BREAKS.sub(r"\g<0><wbr>", escaped(text)) for text in texts)
    return "".join(f"<{tag}>{text}</{tag}>" for text in marked)


def escaped(text: object) -> str:
    return html.escape(printable(text))
