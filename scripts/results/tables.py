"""A table of results for the terminal, Markdown, LaTeX, CSV or JSON."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.results.groups import VALUES, Group, Results, Row, as_json, published_around
from scripts.results.logs import Key, Run, printable

DIGITS = {"t_stddev": 6, "s_test_loss": 4, "s_acc1": 2}
NAMES = {"t_stddev": "T. stddev", "s_test_loss": "S. test loss", "s_acc1": "S. top-1"}
RUNS = "runs (KD+T)"
COLUMNS = (
    "dataset", "teacher", "student", "augmentation", *VALUES, "method", *(f"{name}_std" for name in VALUES),
    "runs", "passes", "incomplete", *(f"published_{name}" for name in VALUES),
)  # fmt: skip
"""Of the CSV file. The first six and s_test_loss_std are what plot_correlation.py reads."""
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip
"""What LaTeX would take for a command."""


@dataclass(frozen=True)
class Table:
    """One group as text cells; a value's published counterpart stands right of it where there is any."""

    group: Group
    header: list[str]
    cells: list[list[str]]
    caption: str
    """What else was published of the pair. May be empty."""


def text_tables(results: Results) -> list[Table]:
    return [_text_table(group, rows) for group, rows in results.groups.items()]


def _text_table(group: Group, rows: Sequence[Row]) -> Table:
    header, with_published = ["scheme"], []
    for name in VALUES:
        has = any(name in row.published for row in rows)
        with_published.append(has)
        header += [NAMES[name], "published"] if has else [NAMES[name]]
    cells = []
    for row in rows:
        line = [row.key.augmentation]
        for name, has in zip(VALUES, with_published):
            line.append(mean_text(row, name))
            line += [_published_text(row, name)] if has else []
        cells.append([*line, row.counts])
    return Table(group, [*header, RUNS], cells, published_around(group))


def mean_text(row: Row, name: str) -> str:
    """The mean; of several trials also their standard deviation."""
    mean, spread, digits = row.mean(name), row.spread(name), DIGITS[name]
    if mean is None:
        return "-"
    return f"{mean:.{digits}f}" + ("" if spread is None else f" ±{spread:.{digits}f}")


def _published_text(row: Row, name: str) -> str:
    return f"{row.published[name]:.{DIGITS[name]}f}" if name in row.published else "-"


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
        lines.insert(1, "-" * len(lines[0]))
        blocks.append(
            "\n".join([table.group.title, *([table.caption] if table.caption else []), *lines])
        )
    return "\n\n".join(blocks) + "\n"


def markdown(results: Results) -> str:
    """One table a group, and the remarks as a list."""
    blocks = []
    for table in text_tables(results):
        lines = [
            "| " + " | ".join(map(_markdown_cell, line)) + " |"
            for line in [table.header, *table.cells]
        ]
        lines.insert(1, "|---" + "|---:" * (len(table.header) - 1) + "|")
        caption = [f"\n{_markdown_cell(table.caption)}\n"] if table.caption else [""]
        blocks.append("\n".join([f"**{_markdown_cell(table.group.title)}**", *caption, *lines]))
    remarks = "\n".join(f"- {_markdown_cell(remark)}" for remark in results.remarks())
    return "\n\n".join([*blocks, *([remarks] if remarks else [])]) + "\n"


def _markdown_cell(text: str) -> str:
    for character in "\\|_*<>`[]":
        text = text.replace(character, "\\" + character)
    return text


def latex(results: Results) -> str:
    """One table a group. Needs \\usepackage{booktabs}."""
    lines = ["% needs \\usepackage{booktabs}"]
    for table in text_tables(results):
        body = [" & ".join(map(_latex_cell, line)) + r" \\" for line in table.cells]
        # fmt: off
        lines += [
            r"\begin{table}", r"\centering", rf"\caption{{{_latex_cell(table.group.title)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}", r"\toprule",
            " & ".join(map(_latex_cell, table.header)) + r" \\", r"\midrule", *body, r"\bottomrule",
            r"\end{tabular}", r"\end{table}",
        ]
        # fmt: on
        lines += [f"% {table.caption}"] if table.caption else []
    lines += [f"% {remark}" for remark in results.remarks()]
    return "\n".join(lines) + "\n"


def _latex_cell(text: str) -> str:
    text = "".join(SPECIAL.get(character, character) for character in text)
    return text.replace(r"-\textgreater{}", r"$\to$").replace("±", r"$\pm$")


def csv_text(results: Results) -> str:
    """One line a row, numbers alone; what is not known is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in results.rows:
        key = row.key
        means = [_number(row.mean(name)) for name in VALUES]
        spreads = [_number(row.spread(name)) for name in VALUES]
        published = [_number(row.published.get(name)) for name in VALUES]
        counts = [len(row.distilled), len(row.measured), len(row.incomplete)]
        writer.writerow([key.dataset, key.teacher, key.student, key.augmentation, *means, key.method, *spreads,
                         *counts, *published])  # fmt: skip
    return file.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def json_text(results: Results) -> str:
    """Everything: each row's values with their samples and runs, and what was left out and why."""
    return as_json(
        {
            "rows": [_json_row(row) for row in results.rows],
            "incomplete": [
                {"run": printable(run.path), "reason": run.problem} for run in results.incomplete
            ],
            "skipped": [
                {"run": printable(path), "reason": reason} for path, reason in results.skipped
            ],
            "remarks": results.remarks(),
        }
    )


def _json_row(row: Row) -> dict[str, Any]:
    def paths(runs: Sequence[Run]) -> list[str]:
        return [printable(run.path) for run in runs]

    values = {
        name: {"mean": row.mean(name), "std": row.spread(name), "values": row.samples(name),
               "published": row.published.get(name)}
        for name in VALUES
    }  # fmt: skip
    runs = {
        "runs": paths(row.distilled),
        "passes": paths(row.measured),
        "incomplete": paths(row.incomplete),
    }
    return {**dict(zip(Key._fields, row.key)), **values, **runs}


FORMATS = {
    "table": terminal,
    "markdown": markdown,
    "latex": latex,
    "csv": csv_text,
    "json": json_text,
}
SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}
"""The format that a file's name asks for."""
