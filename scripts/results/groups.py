"""Runs grouped into a table's rows, beside the published values.

Shared by the scripts that show results.
"""

import csv
import math
import os
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from helper.errors import UserError
from scripts.results.logs import Key, Run, find_logs, read_run
from scripts.results.option_list import printable

PUBLISHED = Path(__file__).parent.parent / "published"
"""scatter.csv: the paper's 72 points. accuracy.csv: top-1 accuracies of the literature."""
SCHEMES = (
    "none", "identity", "flip", "crop+flip", "cutout", "autoaugment", "mixup", "cutmix",
    "cutmix_pick_student_entropy", "cutmix_pick_teacher_entropy",
)  # fmt: skip
"""In the order of the paper's tables; "none": the default DA alone."""
STUDENTS_PICKS = ("student_entropy", "kld")
"""The criteria with which T. stddev depends on the student too."""
VALUES = ("t_stddev", "s_test_loss", "s_acc1")
PUBLISHED_EPOCHS = 240
DATA_SETTINGS = (
    "batch_size", "mix_draw", "limit_train", "num_classes", "img_size", "use_DA", "amp", "path_t",
    "bbox",
    "ceiling_ratio_schedule", "floor_ratio_schedule",
)  # fmt: skip
TRAINING_SETTINGS = (
    *DATA_SETTINGS, "alpha", "beta", "gamma", "kd_T", "kd_S", "lw_mix", "learning_rate",
    "limit_test", "dev_split",
    "lr_decay_epochs", "lr_decay_rate", "weight_decay", "weight_decay_schedule", "feature_views",
    "bn_views",
    "t_output_as_target_for_input_mix",
)  # fmt: skip
"""Options that should agree between the runs of a pair, or their values cannot be compared."""
ROW_SETTINGS = ("mix_n_run", "n_pick")
"""The same between the runs of one scheme."""
KINDS = {"distilled": "distillation runs", "measured": "T. stddev passes"}
"""A row's attributes, in words."""


class Group(NamedTuple):
    """The subject of one table and scatter plot: a `Key` without its scheme."""

    dataset: str
    teacher: str
    student: str
    method: str

    @property
    def title(self) -> str:
        method = f", {self.method}" if self.method else ""
        return f"{self.dataset}: {self.teacher} -> {self.student}{method}"

    def key(self, augmentation: str) -> Key:
        return Key(*self, augmentation)


@dataclass
class Row:
    """The facts of one scheme: its complete runs, and those not to be counted."""

    key: Key
    distilled: list[Run] = field(default_factory=list)
    measured: list[Run] = field(default_factory=list)
    incomplete: list[Run] = field(default_factory=list)
    published: dict[str, float] = field(default_factory=dict)
    """Some of VALUES."""
    ranked: list[float] = field(default_factory=list)
    """T. stddev in the rankings that have it, for a row without a pass."""

    @property
    def group(self) -> Group:
        return Group(*self.key[:4])

    def samples(self, name: str) -> list[float]:
        runs = (*self.distilled, *self.measured)
        found = [run.values[name] for run in runs if name in run.values]
        return found or (self.ranked if name == "t_stddev" else [])

    def mean(self, name: str) -> float | None:
        samples = self.samples(name)
        return statistics.fmean(samples) if samples else None

    def spread(self, name: str) -> float | None:
        """Standard deviation over the trials (n - 1 in the denominator); of one trial None."""
        samples = self.samples(name)
        return statistics.stdev(samples) if len(samples) > 1 else None

    @property
    def counts(self) -> str:
        """ "2+1": two distillations, one T. stddev pass; and how many are left out."""
        left_out = f", {len(self.incomplete)} incomplete" if self.incomplete else ""
        return f"{len(self.distilled)}+{len(self.measured)}{left_out}"


@dataclass(frozen=True)
class Results:
    """Everything that was found."""

    rows: list[Row]
    runs: list[Run]
    skipped: list[tuple[Path, str]]
    """Logs that cannot be read, and why."""

    @property
    def groups(self) -> dict[Group, list[Row]]:
        """The rows of each group, in order."""
        groups: dict[Group, list[Row]] = defaultdict(list)
        for row in self.rows:
            groups[row.group].append(row)
        return dict(groups)

    @property
    def incomplete(self) -> list[Run]:
        return [run for run in self.runs if run.problem]

    def add_ranking(self, ranking: dict[str, Any]) -> None:
        """Take T. stddev of what is ranked. ranking: a JSON file of rank_augmentations.py."""
        of_teacher = (ranking["dataset"], ranking["teacher"])
        values = {
            re.sub(r"_pick:criterion=(\w+)$", r"_pick_\1", row["scheme"]): row["t_stddev"]
            for row in ranking["schemes"]
            if row["verdict"] == "ranked"
        }
        for row in self.rows:
            if row.key[:2] == of_teacher and row.key.augmentation in values:
                row.ranked.append(values[row.key.augmentation])

    def remarks(self) -> list[str]:
        """Remarks about the table: runs left out, settings that differ. One line each."""
        left_out = [
            f"not counted: {printable(run.path)} ({run.problem})" for run in self.incomplete
        ]
        skipped = [f"skipped: {printable(path)} {reason}" for path, reason in self.skipped]
        return left_out + skipped + [f"warning: {warning}" for warning in warnings_of(self)]


def load(paths: Sequence[Path]) -> Results:
    """The runs among and below `paths`. UserError if there is none of train_student.py."""
    runs, skipped = [], []
    for path in find_logs(paths):
        try:
            run = read_run(path)
        except UserError as error:
            skipped.append((path, str(error)))
        else:
            runs += [] if run is None else [run]
    if not runs:
        first = f"; skipped: {printable(skipped[0][0])} {skipped[0][1]}" if skipped else ""
        where = ", ".join(printable(path) for path in paths)
        raise UserError(f"{where}: no run of train_student.py{first}")
    return Results(make_rows(runs), runs, skipped)


def make_rows(runs: Iterable[Run]) -> list[Row]:
    """One row a data set, pair, method and scheme, in the order of the paper's schemes."""
    rows: dict[Key, Row] = {}
    passes = []
    for run in runs:
        if run.measures:
            passes.append(run)
        else:
            row = rows.setdefault(run.key, Row(run.key))
            (row.incomplete if run.problem else row.distilled).append(run)
    groups = {row.group for row in rows.values()}
    for run in passes:
        for group in sorted(groups_of_pass(run.key, groups)):
            key = group.key(run.key.augmentation)
            row = rows.setdefault(key, Row(key))
            (row.incomplete if run.problem else row.measured).append(run)
    published = published_values()
    for key, row in rows.items():
        row.published = published.get(key._replace(method=""), {}) | published.get(key, {})
    rank = {name: index for index, name in enumerate(SCHEMES)}
    order = sorted(
        rows, key=lambda key: (key[:4], rank.get(key.augmentation, len(rank)), key.augmentation)
    )
    return [rows[key] for key in order]


def groups_of_pass(key: Key, groups: Iterable[Group]) -> list[Group]:
    """The groups of a T. stddev pass: every method of its pair, as only the teacher is measured.

    So the student that stands in its command matters only where the scheme picks by it.
    """
    of_teacher = [group for group in groups if group[:2] == key[:2]]
    of_pair = [group for group in of_teacher if group.student == key.student]
    needs_student = key.augmentation.endswith(STUDENTS_PICKS)
    return (of_pair if needs_student else of_teacher) or [Group(*key[:3], "")]


def published_values() -> dict[Key, dict[str, float]]:
    """By key. The test losses are those of kd; T. stddev has no method, and so stands under ""."""
    found: dict[Key, dict[str, float]] = defaultdict(dict)
    for line in read_table("scatter.csv"):
        key = Key(line["dataset"], line["teacher"], line["student"], "kd", line["augmentation"])
        found[key]["s_test_loss"] = float(line["s_test_loss"])
        found[key._replace(method="")]["t_stddev"] = float(line["t_stddev"])
    for line in read_table("accuracy.csv"):
        if line["method"] and int(line["epochs"]) == PUBLISHED_EPOCHS:
            found[Key(*(line[name] for name in Key._fields))]["s_acc1"] = float(line["acc1"])
    return found


def published_around(group: Group) -> str:
    """Other published results of a pair, in a line: the networks alone, longer training.

    Empty if there are none.
    """
    parts = []
    for line in read_table("accuracy.csv"):
        networks = (line["dataset"], line["teacher"], line["student"])
        if networks == (group.dataset, group.teacher, ""):
            parts.append(f"teacher {line['acc1']}")
        elif networks == (group.dataset, "", group.student):
            parts.append(f"student alone {line['acc1']}")
        elif networks == group[:3] and line["method"] == group.method:
            longer = (
                "" if int(line["epochs"]) == PUBLISHED_EPOCHS else f" at {line['epochs']} epochs"
            )
            scheme = "" if line["augmentation"] == "none" else f" + {line['augmentation']}"
            parts.append(f"{line['method']}{scheme}{longer} {line['acc1']}")
    return f"published top-1: {', '.join(parts)}" if parts else ""


def read_table(name: str) -> list[dict[str, str]]:
    """A table of published values."""
    with open(PUBLISHED / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def warnings_of(results: Results) -> list[str]:
    """Runs of one table that differ in settings, repeat each other, or have unusual epochs."""
    found = []
    for group, rows in results.groups.items():
        for kind, settings in (("distilled", TRAINING_SETTINGS), ("measured", DATA_SETTINGS)):
            what = KINDS[kind]
            runs = [run for row in rows for run in getattr(row, kind)]
            if names := disagreements(runs, settings):
                found.append(f"{group.title}: the {what} differ in {names}")
            for row in rows:
                where, trials = f"{group.title}, {row.key.augmentation}", getattr(row, kind)
                if names := disagreements(trials, ROW_SETTINGS):
                    found.append(f"{where}: the {what} differ in {names}")
                if seeds := repeated_seeds(trials):
                    found.append(
                        f"{where}: {what} with the same seed ({seeds}) are no independent trials"
                    )
        epochs = {run.epochs for row in rows for run in row.distilled} - {PUBLISHED_EPOCHS}
        if epochs and any(row.published for row in rows):
            shown = ", ".join(map(str, sorted(epochs)))
            found.append(
                f"{group.title}: the published runs took {PUBLISHED_EPOCHS} epochs, these {shown}"
            )
    return found


def repeated_seeds(runs: Iterable[Run]) -> str:
    given = [run.options.get("seed") for run in runs]
    counts = Counter(canonical(seed) for seed in given if seed is not None)
    return ", ".join(sorted(seed for seed, count in counts.items() if count > 1))


def disagreements(runs: Sequence[Run], settings: Iterable[str]) -> str:
    """The options with more than one value, and the values.

    An option that a log does not list is no value.
    """
    parts = []
    for name in ("epochs", *settings):
        listed = [run.options | {"epochs": run.epochs} for run in runs]
        values = {canonical(options[name]) for options in listed if name in options}
        if len(values) > 1:
            parts.append(f"{name} ({' / '.join(sorted(values))})")
    return ", ".join(parts)


def canonical(value: Any) -> str:
    """1, 1.0 and ./a/b, a/b alike, whichever program wrote them."""
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = os.path.normpath(value) if isinstance(value, str) and "/" in value else value
        return printable(text)[:80]
    return f"{value:g}" if math.isfinite(value) else str(value)
