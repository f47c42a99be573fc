"""A table of results for the terminal, Markdown, LaTeX, CSV or JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.results.groups import VALUES, Group, Results, Row, published_around
from scripts.results.logs import Key, Run
from scripts.results.option_list import printable

DIGITS = {"t_stddev": 6, "s_test_loss": 4, "s_acc1": 2}
NAMES = {"t_stddev": "T. stddev", "s_test_loss": "S. test loss", "s_acc1": "S. top-1"}
RUNS = "runs (KD+T)"
COLUMNS = (
    "dataset", "teacher", "student", "augmentation", *VALUES, "method",
    *(f"{name}_std" for name in VALUES),
    "runs", "passes", "incomplete", *(f"published_{name}" for name in VALUES),
)  # fmt: skip
"""Columns of the CSV file. plot_correlation.py reads the first six and s_test_loss_std."""
MARKDOWN = str.maketrans({character: "\\" + character for character in "\\|_*<>`[]"})
LATEX = str.maketrans(
    {character: "\\" + character for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$"}
)
"""Characters that a format would read as a command -> their escapes."""


@dataclass(frozen=True)
class Table:
    """One group as text cells.

    A value's published counterpart stands right of it where there is any.
    """

    group: Group
    header: list[str]
    cells: list[list[str]]
    caption: str
    """Other published facts of the pair. May be empty."""


def text_tables(results: Results) -> list[Table]:
    """One table a group."""
    tables = []
    for group, rows in results.groups.items():
        published = [name for name in VALUES if any(name in row.published for row in rows)]
        header, cells = ["scheme"], [[row.key.augmentation] for row in rows]
        for name in VALUES:
            header += [NAMES[name], "published"] if name in published else [NAMES[name]]
            for row, line in zip(rows, cells):
                line += [mean_text(row, name)] + published_text(row, name) * (name in published)
        cells = [[*line, row.counts] for row, line in zip(rows, cells)]
        tables.append(Table(group, [*header, RUNS], cells, published_around(group)))
    return tables


def mean_text(row: Row, name: str) -> str:
    """The mean; of several trials also their standard deviation."""
    mean, spread, digits = row.mean(name), row.spread(name), DIGITS[name]
    if mean is None:
        return "-"
    return f"{mean:.{digits}f}" + ("" if spread is None else f" ±{spread:.{digits}f}")


def published_text(row: Row, name: str) -> list[str]:
    return [f"{row.published[name]:.{DIGITS[name]}f}" if name in row.published else "-"]


def terminal(results: Results) -> str:
    """One block a group, the columns aligned."""
    blocks = []
    for table in text_tables(results):
        widths = [max(map(len, column)) for column in zip(table.header, *table.cells)]
        lines = [
            "  ".join(
                [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(rest, widths[1:]))]
            )
            for first, *rest in [table.header, *table.cells]
        ]
        head = [table.group.title, *filter(None, [table.caption]), lines[0], "-" * len(lines[0])]
        blocks.append("\n".join([*head, *lines[1:]]))
    return "\n\n".join(blocks) + "\n"


def markdown(results: Results) -> str:
    """One table a group, and the remarks as a list."""
    blocks = []
    for table in text_tables(results):
        lines = [
            "| " + " | ".join(cell.translate(MARKDOWN) for cell in line) + " |"
            for line in [table.header, *table.cells]
        ]
        lines.insert(1, "|---" + "|---:" * (len(table.header) - 1) + "|")
        caption = f"\n{table.caption.translate(MARKDOWN)}\n" if table.caption else ""
        blocks.append("\n".join([f"**{table.group.title.translate(MARKDOWN)}**", caption, *lines]))
    remarks = "\n".join(f"- {remark.translate(MARKDOWN)}" for remark in results.remarks())
    return "\n\n".join([*blocks, *filter(None, [remarks])]) + "\n"


def latex(results: Results) -> str:
    """One table a group. Needs \\usepackage{booktabs}."""
    lines = ["% needs \\usepackage{booktabs}"]
    for table in text_tables(results):
        header, *body = (
            " & ".join(cell.translate(LATEX) for cell in line) + r" \\"
            for line in [table.header, *table.cells]
        )
        title = table.group.title.translate(LATEX).replace(r"-\textgreater{}", r"$\to$")
        lines += [
            r"\begin{table}", r"\centering", rf"\caption{{{title}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}", r"\toprule", header,
            r"\midrule", *body,
            r"\bottomrule", r"\end{tabular}", r"\end{table}",
        ]  # fmt: skip
        lines += [f"% {table.caption}"] if table.caption else []
    return "\n".join([*lines, *(f"% {remark}" for remark in results.remarks())]) + "\n"


def csv_text(results: Results) -> str:
    """One line a row, numbers alone; what is not known is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in results.rows:
        values = (row.mean, row.spread, row.published.get)
        means, spreads, published = ([_number(get(name)) for name in VALUES] for get in values)
        counts = [len(row.distilled), len(row.measured), len(row.incomplete)]
        writer.writerow(
            [
                *row.key[:3],
                row.key.augmentation,
                *means,
                row.key.method,
                *spreads,
                *counts,
                *published,
            ]
        )
    return file.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def json_text(results: Results) -> str:
    """Everything: each row's values with their samples and runs, and what was left out and why."""
    incomplete = [(run.path, run.problem) for run in results.incomplete]
    content = {
        "rows": [_json_row(row) for row in results.rows],
        "incomplete": [{"run": printable(p), "reason": reason} for p, reason in incomplete],
        "skipped": [{"run": printable(p), "reason": reason} for p, reason in results.skipped],
        "remarks": results.remarks(),
    }
    return json.dumps(content, indent=1) + "\n"


def _json_row(row: Row) -> dict[str, Any]:
    def paths(runs: Sequence[Run]) -> list[str]:
        return [printable(run.path) for run in runs]

    values = {
        name: {"mean": row.mean(name), "std": row.spread(name), "values": row.samples(name),
               "published": row.published.get(name)}
        for name in VALUES
    }  # fmt: skip
    return {
        **dict(zip(Key._fields, row.key)),
        **values,
        "runs": paths(row.distilled),
        "passes": paths(row.measured),
        "incomplete": paths(row.incomplete),
    }


FORMATS = {
    "table": terminal,
    "markdown": markdown,
    "latex": latex,
    "csv": csv_text,
    "json": json_text,
}
SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}
"""The format that a file's name asks for."""
