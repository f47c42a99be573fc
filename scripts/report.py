#!/usr/bin/env python3
"""All results on one page: findings, tables, scatter plots, learning curves.

    python scripts/report.py Experiments -o report.html [--preview batch.png ...]

Reads what collect_results.py reads. The page is one file that opens without network, on a phone
too; every run's exact command is in it. Names, notes and commands come from logs and are text
there, never markup.
"""

import base64
import html
import itertools
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.errors import UserError, one_line_errors
from helper.run.atomic import write_result
from scripts.rank import page as ranking
from scripts.results.command_line import paths_parser, print_remarks
from scripts.results import figures, page_frame, style
from scripts.results.correlation import (
    COEFFICIENTS,
    SIGNIFICANT,
    Point,
    correlations,
    points_of,
    shown,
)
from scripts.results.tables import Table, text_tables
from scripts.results.groups import Group, Results, Row, load
from scripts.results.logs import Run
from scripts.results.option_list import printable

PROGRAM = "report.py"
IMAGE_TYPES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}
LARGEST_PREVIEW = 20 << 20


def escaped(text: object) -> str:
    """Any text as HTML text or attribute, in one line."""
    return html.escape(printable(text))


def with_arrow(text: str) -> str:
    """A title or sentence of this file, escaped; a p-value stays on one line."""
    text = escaped(text).replace("-&gt;", "&rarr;")
    return re.sub(r"\(p (=|&lt;) [\d.e-]+\)", r"<span class=whole>\g<0></span>", text)


def summary(results: Results, points: dict[Group, list[Point]]) -> list[str]:
    """The findings with their limits: one sentence about the runs, one for each group."""
    complete = [run for run in results.runs if not run.problem]
    passes = sum(run.measures for run in complete)
    counted = (
        f"{plural(len(complete) - passes, 'distillation')} and"
        f" {plural(passes, 'T. stddev pass', 'es')}"
    )
    left_out = [
        plural(len(results.incomplete), "incomplete run") if results.incomplete else "",
        plural(len(results.skipped), "unreadable log") if results.skipped else "",
    ]
    not_counted = " and ".join(filter(None, left_out))
    sentences = [
        f"{counted} counted" + (f"; {not_counted} left out." if not_counted else ", none left out.")
    ]
    sentences += [
        f"{group.title}: {finding(rows, points[group])}" for group, rows in results.groups.items()
    ]
    if sum(bool(correlations(of_group)) for of_group in points.values()) > 1:
        sentences.append(
            "The p-values are each pair's own, not corrected for looking at several pairs."
        )
    return sentences


def plural(count: int, noun: str, ending: str = "s") -> str:
    return f"{count} {noun}{'' if count == 1 else ending}"


def finding(rows: Sequence[Row], points: Sequence[Point]) -> str:
    """The correlation of one group, what it allows to say, and the published one."""
    found = correlations(points)
    if not found:
        return f"{shown(found, len(points))}."
    significant = [name for name, c in found.items() if c["p"] < SIGNIFICANT]
    signs = {found[name]["r"] > 0 for name in significant}
    if not significant:
        verdict = f"no significant correlation over {len(points)} schemes"
    elif signs == {True}:
        verdict = f"over {len(points)} schemes, a lower T. stddev goes with a lower S. test loss"
    else:
        verdict = (
            f"over {len(points)} schemes, a lower T. stddev goes with a higher S. test loss,"
            " against the theory"
        )
    if significant and len(significant) < len(found):
        verdict += (
            f" (significant by {' and '.join(name.capitalize() for name in significant)} alone)"
        )
    return f"{verdict}: {shown(found, len(points))}{published_finding(rows, points)}."


def published_finding(rows: Sequence[Row], points: Sequence[Point]) -> str:
    """The published coefficients over those of these schemes that were published, or nothing."""
    schemes = {point.augmentation for point in points}
    published = [
        Point(row.key.augmentation, row.published["t_stddev"], row.published["s_test_loss"])
        for row in rows
        if row.key.augmentation in schemes and {"t_stddev", "s_test_loss"} <= row.published.keys()
    ]
    found = correlations(published)
    values = " / ".join(f"{found[name]['r']:.4f}" for name in COEFFICIENTS) if found else ""
    return f"; published, over {len(published)} of these schemes: {values}" if found else ""


def table_html(table: Table) -> str:
    """In a box of its own that scrolls; published columns are set back."""
    published = [name == "published" for name in table.header]

    def line(cells: Iterable[str], tag: str) -> str:
        marked = zip((escaped(cell).replace("_", "_<wbr>") for cell in cells), published)
        return "".join(
            f"<{tag}{' class=published' if is_p else ''}>{cell}</{tag}>" for cell, is_p in marked
        )

    body = "".join(
        f"<tr{' class=incomplete' if 'incomplete' in cells[-1] else ''}>{line(cells, 'td')}</tr>"
        for cells in table.cells
    )
    caption = f"<p class=small>{escaped(table.caption)}</p>" if table.caption else ""
    head = f"<thead><tr>{line(table.header, 'th')}</tr></thead>"
    return f"{caption}<div class=box tabindex=0><table>{head}<tbody>{body}</tbody></table></div>"


def section(number: int, table: Table, rows: Sequence[Row], points: Sequence[Point]) -> str:
    """One group: its table, its scatter plot, its learning curves."""
    title = with_arrow(table.group.title)
    shown_figures = []
    if points:
        drawn = figures.scatter({table.group: points})
        picture = figures.inline_svg(
            drawn, prefix=f"s{number}", label=f"S. test loss against T. stddev, {title}"
        )
        shown_figures.append(f"<figure>{picture}</figure>")
    drawn = figures.curves(rows)
    if drawn is not None:
        picture = figures.inline_svg(drawn, prefix=f"c{number}", label=f"learning curves, {title}")
        text = (
            "Line: mean over complete trials; band: one standard deviation; dotted: a run left out."
        )
        shown_figures.append(f"<figure>{picture}<figcaption>{text}</figcaption></figure>")
    return (
        f"<section><h2>{title}</h2>{table_html(table)}<div"
        f" class=figures>{''.join(shown_figures)}</div></section>"
    )


def runs_html(runs: Sequence[Run]) -> str:
    """Each run: name, how it ended, its note and its commands, folded away."""
    items = []
    for run in runs:
        kind = "T. stddev pass" if run.measures else "distillation"
        state = f"<b>{escaped(run.problem)}</b>" if run.problem else "complete"
        note = f"<p>note: {escaped(run.options['note'])}</p>" if run.options.get("note") else ""
        commands = "\n".join(html.escape(visible(command)) for command in run.commands)
        command = (
            f"<pre tabindex=0>{commands}</pre>" if commands else "<p>no command in its log</p>"
        )
        items.append(
            f"<details><summary>{escaped(run.name)} <span class=small>{kind},"
            f" {state}</span></summary>{note}{command}</details>"
        )
    return f"<section><h2>Runs and their commands</h2>{''.join(items)}</section>"


def visible(command: str) -> str:
    """Line ends of a quoted argument stay: this is to be copied."""
    return "\n".join(printable(line) for line in command.split("\n"))


def preview_html(paths: Sequence[Path]) -> str:
    """Pictures, embedded. Raises UserError."""
    if not paths:
        return ""
    pictures = "".join(
        f'<figure><img src="{data_uri(path)}" alt="{escaped(path.name)}">'
        f"<figcaption>{escaped(path.name)}</figcaption></figure>"
        for path in paths
    )
    return f"<section><h2>Previews</h2><div class=figures>{pictures}</div></section>"


def data_uri(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_PREVIEW + 1)
    except OSError as error:
        raise UserError(f"cannot read {printable(path)}: {error.strerror}") from None
    kind = next((kind for start, kind in IMAGE_TYPES.items() if data.startswith(start)), None)
    if kind is None:
        raise UserError(f"{printable(path)} is no picture that a page can show (PNG, JPEG, GIF)")
    if len(data) > LARGEST_PREVIEW:
        raise UserError(f"{printable(path)} is larger than {LARGEST_PREVIEW >> 20} MiB")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def page(
    results: Results, title: str, previews: Sequence[Path], rankings: Sequence[dict[str, Any]] = ()
) -> str:
    """The whole page. Raises UserError."""
    points, _ = points_of(results)
    first, *others = summary(results, points)
    found = "".join(f"<li>{with_arrow(sentence)}</li>" for sentence in others)
    remarks = "".join(f"<li>{with_arrow(remark)}</li>" for remark in results.remarks())
    with style.drawing():
        ranked = [ranking.section(found, n) for n, found in enumerate(rankings)]
        sections = ranked + [
            section(number, table, rows, points[table.group])
            for number, table, rows in zip(
                itertools.count(), text_tables(results), results.groups.values()
            )
        ]
    return page_frame.PAGE.format(
        title=escaped(title),
        style=page_frame.STYLE + page_frame.DARK.format(variables=style.dark_variables()),
        summary=f"<p>{escaped(first)}</p><ul>{found}</ul>",
        remarks=f"<section><h2>Remarks</h2><ul>{remarks}</ul></section>" if remarks else "",
        sections="\n".join(sections),
        previews=preview_html(previews),
        runs=runs_html(results.runs),
    )


def main(argv: Sequence[str]) -> None:
    parser = paths_parser(PROGRAM, __doc__)
    add = parser.section("page")
    # fmt: off
    add("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE",
        help="(default: report.html)")
    add("--title", default="Data augmentation in knowledge distillation: results", metavar="TEXT",
        help="its heading")
    add("--preview", type=Path, action="append", default=[], metavar="FILE",
        help="a picture to embed, such as a run's gen_img/*.png; may be given several times")
    add("--ranking", type=Path, action="append", default=[], metavar="FILE",
        help="a ranking to show, the --json FILE of rank_augmentations.py; its T. stddev stands "
             "in for passes; may be given several times")
    # fmt: on
    options = parser.parse(argv)
    results = load(options.paths)
    rankings = [ranking.read(path) for path in options.ranking]
    for found in rankings:
        results.add_ranking(found)
    write_result(options.output, page(results, options.title, options.preview, rankings))
    print_remarks(results.remarks())
    print(f"report: {printable(options.output)}")


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        main(sys.argv[1:])
