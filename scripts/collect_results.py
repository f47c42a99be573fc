#!/usr/bin/env python3
"""The results of many runs in one table: T. stddev, S. test loss and S. top-1 of each DA scheme.

    python scripts/collect_results.py Experiments --csv results.csv

Reads run folders, and folders that hold them; pairs distillation runs with T. stddev passes by data set,
teacher, student and scheme. Several runs of one kind are averaged; unfinished ones are named, not counted.
The S. values are those of the last epoch, as published.
"""

import argparse
import csv
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

PROGRAM = "collect_results.py"
SCHEMES = (
    "identity", "flip", "crop+flip", "cutout", "autoaugment", "mixup", "cutmix",
    "cutmix_pick_student_entropy", "cutmix_pick_teacher_entropy",
)  # fmt: skip
"""In the order of the paper's tables."""
VALUES = ("t_stddev", "s_test_loss", "s_acc1")
COLUMNS = ("dataset", "teacher", "student", "augmentation", *VALUES)
SETTINGS = (
    "distill", "alpha", "beta", "gamma", "kd_T", "kd_S", "lw_mix", "epochs", "learning_rate", "batch_size", "mix_draw",
    "limit_train", "limit_test", "num_classes", "img_size", "use_DA", "amp", "path_t", "bbox", "lr_decay_epochs",
    "lr_decay_rate", "weight_decay", "weight_decay_schedule", "ceiling_ratio_schedule", "floor_ratio_schedule",
    "t_output_as_target_for_input_mix",
)  # fmt: skip
"""Options that should agree between the runs of a pair, or their values cannot be compared."""


class InputError(ValueError):
    """What a user can get wrong, in one line."""


class Key(NamedTuple):
    """What makes two runs comparable."""

    dataset: str
    teacher: str
    student: str
    augmentation: str


@dataclass(frozen=True)
class Run:
    """One run folder of train_student.py."""

    path: Path
    key: Key
    measures: bool
    """A T. stddev pass; else a distillation."""
    values: dict[str, float]
    """Some of VALUES; empty if the run did not finish."""
    progress: str
    """How far it got."""
    options: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What is known of one scheme: each value's runs."""

    key: Key
    distilled: Sequence[Run]
    measured: Sequence[Run]

    def samples(self, name: str) -> list[float]:
        return [run.values[name] for run in (*self.distilled, *self.measured) if name in run.values]


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """The run folders among and below `folders`, each once, by name. Raises InputError."""
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder")
        heads = [folder / "log" / "args.json", *folder.glob("**/log/args.json")]
        runs = [head.parent.parent for head in heads if head.is_file()]
        if not runs:
            raise InputError(f"{folder} is no run folder and holds none (a run folder has log/args.json)")
        found.update((run.resolve(), run) for run in runs)
    return sorted(found.values(), key=lambda path: (path.name, path))


def read_run(path: Path) -> Run | None:
    """None for a run that is not train_student.py's, or that had not begun. Raises InputError."""
    records = read_records(path / "log" / "metrics.jsonl")
    if "job" not in records:
        return None
    try:
        options = json.loads((path / "log" / "args.json").read_text(encoding="utf-8"))
        job = records["job"]
        key = Key(options["dataset"], job["teacher"], options["model_s"], job["scheme"].replace(" by ", "_"))
        measures, epochs = options["fix_student"], job["epochs"]
        if measures:
            last = records.get("summary")
            finished = last is not None and "t_stddev" in last
            progress = "T. stddev pass not finished" if last is None else "a finished pass without T. stddev"
            values = {"t_stddev": last["t_stddev"]} if finished else {}
        else:
            last = records.get("epoch", {"epoch": 0})
            finished, progress = last["epoch"] >= epochs, f"epoch {last['epoch']} of {epochs}"
            values = {"s_test_loss": last["test_loss"], "s_acc1": last["acc1"]} if finished else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}/log is damaged ({type(error).__name__}: {error})") from None
    known = {name: value for name, value in values.items() if value is not None}  # NaN was written as null
    return Run(path, key, measures, known, progress, options)


def read_records(path: Path) -> dict[str, dict[str, Any]]:
    """The last record of each kind in metrics.jsonl; a line cut off by a kill is passed over."""
    records = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return records
    for line in lines:
        try:
            record = json.loads(line)
            records[record["kind"]] = record
        except (ValueError, KeyError, TypeError):
            continue
    return records


def make_rows(runs: Iterable[Run]) -> list[Row]:
    """Finished runs by data set, teacher and student, then in the order of the schemes."""
    groups: dict[Key, tuple[list[Run], list[Run]]] = defaultdict(lambda: ([], []))
    for run in runs:
        if run.values:
            groups[run.key][run.measures].append(run)
    rank = {name: index for index, name in enumerate(SCHEMES)}
    order = sorted(groups, key=lambda key: (key[:3], rank.get(key.augmentation, len(rank)), key.augmentation))
    return [Row(key, *groups[key]) for key in order]


def mean_text(samples: Sequence[float], digits: int) -> str:
    """The mean; of several also their standard deviation."""
    if not samples:
        return "-"
    spread = f" ±{statistics.stdev(samples):.{digits}f}" if len(samples) > 1 else ""
    return f"{statistics.mean(samples):.{digits}f}{spread}"


def table(rows: Sequence[Row]) -> str:
    """One block a pair of networks."""
    header = ("scheme", "T. stddev", "S. test loss", "S. top-1", "runs (KD+T)")
    blocks = []
    for pair in dict.fromkeys(row.key[:3] for row in rows):
        cells = [header]
        for row in rows:
            if row.key[:3] == pair:
                values = [mean_text(row.samples(name), digits) for name, digits in zip(VALUES, (6, 4, 2))]
                cells.append((row.key.augmentation, *values, f"{len(row.distilled)}+{len(row.measured)}"))
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = [
            "  ".join([name.ljust(widths[0]), *(v.rjust(w) for v, w in zip(values, widths[1:]))])
            for name, *values in cells
        ]
        title = "{}: {} -> {}".format(*pair)
        blocks.append("\n".join([title, lines[0], "-" * len(lines[0]), *lines[1:]]))
    return "\n\n".join(blocks)


def disagreements(rows: Sequence[Row]) -> list[str]:
    """A warning for each pair of networks whose runs were made under different settings."""
    warnings = []
    for pair in dict.fromkeys(row.key[:3] for row in rows):
        of_pair = [row for row in rows if row.key[:3] == pair]
        for what, kind in (("distillation runs", "distilled"), ("T. stddev passes", "measured")):
            runs = [run for row in of_pair for run in getattr(row, kind)]
            seen = {name: {json.dumps(run.options.get(name)) for run in runs} for name in SETTINGS}
            names = [
                f"{name} ({' / '.join(sorted(values))})" for name, values in seen.items() if len(values) > 1
            ]
            if names:
                warnings.append(f"{' '.join(pair)}: the {what} differ in {', '.join(names)}")
    return warnings


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Raises InputError if the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in rows:
                samples = [row.samples(name) for name in VALUES]
                writer.writerow([*row.key, *(f"{statistics.mean(s):.6g}" if s else "" for s in samples)])
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="run folders, or folders of them"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help=f"write {','.join(COLUMNS)}")
    options = parser.parse_args(argv)

    runs = [run for path in find_runs(options.folders) if (run := read_run(path)) is not None]
    rows = make_rows(runs)
    print(table(rows) if rows else "no finished run of train_student.py")
    for run in runs:
        if not run.values:
            print(f"not counted: {run.path} ({run.progress})", file=sys.stderr)
    for warning in disagreements(rows):
        print(f"warning: {warning}", file=sys.stderr)
    if options.csv is not None:
        write_csv(rows, options.csv)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.stderr.write(f"{PROGRAM}: error: {error}\n")
        raise SystemExit(2) from None
