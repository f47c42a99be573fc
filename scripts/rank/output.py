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
from scripts.rank.planning import Result

INTERVALS = ("t_stddev", "consistency", "balance", "information")
UNIT = 1e-3
"""T. stddev is shown in thousandths."""


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
    """One line a scheme; the difference to the first one and the verdict's reason too."""
    text, head = io.StringIO(), {"dataset": report.dataset, "teacher": report.teacher}
    lines = [
        head
        | values_of(report, row)
        | {
            "to_best": row.to_best.value,
            "to_best_low": row.to_best.low,
            "to_best_high": row.to_best.high,
            "guard_state": report.guard.state,
        }
        for row in report.result.rows
    ]
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


HEADER = ("", "scheme", "T. stddev x 1e-3", "less the first", "R", "B", "MI", "top-1", "ms", "steps", "verdict")  # fmt: skip


def as_text(report: Report) -> str:
    """The table for the terminal."""
    rows = [HEADER, *(cells_of(report, row) for row in report.result.rows)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEADER))]
    lines = []
    for cells in rows:
        padded = [
            cell.ljust(width) if column in (1, len(HEADER) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def cells_of(report: Report, row: Row) -> tuple[str, ...]:
    groups = [other.group for other in report.result.rows]
    is_tied = row.group is not None and groups.count(row.group) > 1
    place = "" if row.group is None else f"{row.group}{'=' if is_tied else ''}"
    reason = f": {row.verdict.reason}" if row.verdict.reason else ""
    first = report.result.rows[0].scheme == row.scheme
    return (
        place,
        row.scheme,
        shown(row.t_stddev, 1 / UNIT, 3),
        "" if first else shown(row.to_best, 1 / UNIT, 3, sign="+"),
        f"{row.consistency.value:.2f}",
        shown(row.balance, 1, 2),
        shown(row.information, 1, 2),
        f"{row.teacher_top1:.1f}",
        f"{report.result.costs[row.scheme]:.2f}",
        str(row.steps),
        f"{row.verdict.name}{reason}",
    )


def shown(interval: Interval, factor: float, digits: int, *, sign: str = "") -> str:
    """ "2.231 (2.180 2.284)"."""
    value, low, high = (f"{factor * number:{sign}.{digits}f}" for number in interval)
    return f"{value} ({low} {high})"


def conclusion(report: Report) -> list[str]:
    """The answer in words, with its limits."""
    rows, best = report.result.rows, report.result.best
    ranked = [row for row in rows if row.group is not None]
    certain = f"{100 * report.options.confidence:g} %"
    if best:
        lines = [f"best: {best}, lower than every other ranked scheme at {certain} confidence"]
    elif ranked:
        first = [row.scheme for row in ranked if row.group == 1]
        open_ones = [
            row.scheme
            for row in rows
            if row.group is None and row.verdict.is_open and not row.to_best.low > 0
        ]
        tie = f"tie: {', '.join(first)}" if len(first) > 1 else f"lowest: {first[0]}"
        not_sure = f"; {', '.join(open_ones)} may be lower" if open_ones else ""
        lines = [
            f"{tie}; not resolved at {certain} confidence{not_sure}: the same command with a larger --budget "
            "or --minutes goes on"
        ]
    else:
        lines = ["nothing is ranked: no scheme passes the guard"]
    lines += unproven_lines(report)
    lowest = min(rows, key=lambda row: row.t_stddev.value if row.t_stddev.value > 0 else math.inf)
    if lowest.verdict.name == "no signal":
        lines.append(
            f"T. stddev alone would have chosen {lowest.scheme}, and the guard rejects it: {lowest.verdict.reason}"
        )
    return lines


def unproven_lines(report: Report) -> list[str]:
    """How far the guard carries schemes that the paper did not measure."""
    guard, rows = report.guard, report.result.rows
    beyond = [row for row in rows if not is_of_paper(row.scheme)]
    if guard.is_proven or not beyond:
        return []
    if guard.is_trusted:
        return [
            "the guard is not proven, but trusted as asked for: a rank beyond the paper's schemes is "
            "a guess that students have to confirm (--validate METHOD:MODEL)"
        ]
    unproven = [row for row in beyond if row.verdict.name == "unproven"]
    if not unproven:
        return []
    lower = [row.scheme for row in unproven if row.to_best.high < 0]
    lines = [
        "not ranked: the schemes beyond the paper's, since the guard is not proven; --trust_guard ranks them"
    ]
    if lower and rows[0].group:
        lines.append(f"unproven, with a lower T. stddev than {rows[0].scheme}: {', '.join(lower)}")
    return lines


def training_command(report: Report, scheme: str, model_s: str = "resnet8") -> str:
    """The command that distils under `scheme`."""
    options = report.options
    words = ["python", "train_student.py", "--path_t", options.path_t]
    words += [word for path in options.plugin for word in ("--plugin", path)]
    words += ["--model_t", options.model_t] if options.model_t else []
    words += ["--dataset", options.dataset, "--model_s", options.model_s or model_s]
    for name in ("data_root", "num_classes", "img_size"):
        words += [f"--{name}", str(getattr(options, name))] if getattr(options, name) else []
    words += "--distill kd -r 0.1 -a 0.9 -b 0 --t_output_as_target_for_input_mix --lw_mix [1,0,1]".split()
    words += ["--mix_mode", scheme]
    words += ["--mix_draw", options.mix_draw] if options.mix_draw != "batch" else []
    return shlex.join(words).replace("'[1,0,1]'", "[1,0,1]")


def progress(stage_name: str, live: Sequence[str], leader: str, images: int, left: str) -> str:
    """One line while it measures."""
    return f"{stage_name}: {images} images, {len(live)} schemes left, lowest so far {leader}{left}"
