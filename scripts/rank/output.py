"""The results of a ranking: table, CSV, JSON, the command that trains under the winner."""

import csv
import io
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from helper.cli.parser import Options
from helper.step.guard import Guard, is_of_paper
from helper.step.intervals import Interval
from helper.step.ranking import Row
from scripts.rank import table
from scripts.rank.command_line import student_words
from scripts.rank.planning import Result

INTERVALS = ("t_stddev", "consistency", "balance", "information")


@dataclass(frozen=True)
class Report:
    """A result and where it comes from."""

    result: Result
    options: Options
    teacher: str
    dataset: str
    guard: Guard
    images: int
    seconds: float

    def row_of(self, scheme: str) -> Row:
        return next(row for row in self.result.rows if row.scheme == scheme)


def values_of(report: Report, row: Row) -> dict[str, Any]:
    """A row as CSV and JSON have it."""
    values: dict[str, Any] = {"scheme": row.scheme}
    for name in INTERVALS:
        interval: Interval = getattr(row, name)
        values |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        if name == "t_stddev":
            values["published_t_stddev"] = row.published
    return values | {
        "teacher_top1": row.teacher_top1,
        "ms_per_image": report.result.costs[row.scheme],
        "steps": row.steps,
        "verdict": row.verdict.name,
        "reason": row.verdict.reason,
        "group": row.group,
        "to_best": row.to_best.value,
        "to_best_low": row.to_best.low,
        "to_best_high": row.to_best.high,
    }


def finite(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_dict(report: Report) -> dict[str, Any]:
    """The content of the JSON file; the figure and report.html are made of it."""
    schemes = [
        {name: finite(value) for name, value in values_of(report, row).items()}
        for row in report.result.rows
    ]
    return {
        "teacher": report.teacher,
        "dataset": report.dataset,
        "seed": report.options.seed,
        "images": report.images,
        "seconds": round(report.seconds, 3),
        "best": report.result.best,
        "guard": report.guard.measure,
        "border": report.guard.border,
        "guard_state": report.guard.state,
        "schemes": schemes,
    }


def as_json(report: Report) -> str:
    return json.dumps(as_dict(report), indent=2, allow_nan=False) + "\n"


def as_csv(report: Report) -> str:
    """One line a scheme."""
    head = {"dataset": report.dataset, "teacher": report.teacher}
    tail = {"guard_state": report.guard.state}
    lines = [head | values_of(report, row) | tail for row in report.result.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def as_text(report: Report) -> str:
    """The table for the terminal."""
    schemes = as_dict(report)["schemes"]
    rows = [table.HEADER, *(table.cells(row, schemes) for row in schemes)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    left = (1, len(widths) - 1)  # the columns of words
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths))
        ).rstrip()
        for cells in rows
    )


def conclusion(report: Report) -> list[str]:
    """The answer in words, with its limits."""
    return [answer(report), *unproven_lines(report), *trap_lines(report)]


def answer(report: Report) -> str:
    rows, best = report.result.rows, report.result.best
    certain = f"{100 * report.options.confidence:g} %"
    if best and sum(row.group is not None for row in rows) == 1:
        return f"best: {best}, the only scheme that is ranked"
    if best:
        return f"best: {best}, lower than every other ranked scheme at {certain} confidence"
    first = report.result.contenders
    if not first and any(row.verdict.is_open for row in rows):
        return (
            f"nothing is ranked yet: {report.images} images are too few for the guard; the same"
            " command with a larger --budget or --minutes goes on"
        )
    if not first:
        return "nothing is ranked: no scheme passes the guard"
    undecided = [
        row.scheme for row in rows if row.verdict.is_open and not (row.group or row.to_best.low > 0)
    ]
    tie = f"tie: {', '.join(first)}" if len(first) > 1 else f"lowest: {first[0]}"
    also = f"; {', '.join(undecided)} may be lower" if undecided else ""
    return (
        f"{tie}; not resolved at {certain} confidence{also}: the same command with a larger"
        " --budget or --minutes goes on"
    )


def trap_lines(report: Report) -> list[str]:
    """The scheme of the lowest T. stddev, if the guard rejects it."""
    finite = [row for row in report.result.rows if row.t_stddev.value > 0]
    lowest = min(finite, key=lambda row: row.t_stddev.value, default=None)
    if lowest is None or lowest.verdict.name != "no signal":
        return []
    return [
        f"T. stddev alone would have chosen {lowest.scheme}, and the guard rejects it:"
        f" {lowest.verdict.reason}"
    ]


def unproven_lines(report: Report) -> list[str]:
    """How far the guard carries schemes that the paper did not measure."""
    guard, rows = report.guard, report.result.rows
    beyond = [row for row in rows if not is_of_paper(row.scheme)]
    if guard.is_proven or not beyond:
        return []
    if guard.is_trusted:
        return [
            "the guard is not proven: a place beyond the paper's schemes is a guess that students"
            " have to confirm (--validate METHOD:MODEL)"
        ]
    unproven = [row for row in beyond if row.verdict.name == "unproven"]
    if not unproven:
        return []
    lines = [
        "not ranked: the schemes beyond the paper's, since the guard is not proven; --trust_guard"
        " ranks them"
    ]
    lower = ", ".join(row.scheme for row in unproven if row.to_best.high < 0)
    if lower and rows[0].group:
        lines.append(f"unproven, with a lower T. stddev than {rows[0].scheme}: {lower}")
    return lines


def training_command(report: Report, scheme: str) -> str:
    """The command that distils under `scheme`."""
    model = report.options.model_s or "resnet8"
    words = ["python", "train_student.py", *student_words(report.options, scheme, "kd", model)]
    return shlex.join(words).replace("'[1,0,1]'", "[1,0,1]")


def progress(stage_name: str, live: Sequence[str], leader: str, images: int, left: str) -> str:
    """One line while it measures."""
    return f"{stage_name}: {images} images, {len(live)} schemes left, lowest so far {leader}{left}"
