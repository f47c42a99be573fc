"""One run's files, of this program or of the original, read into one small object.

A run folder has log/args.json and log/metrics.jsonl. The original left log.txt alone, people keep
such files, and a log of this program can be read the same way when the other two are lost. Logs are
foreign text: nothing in them is evaluated, a line that is cut off or garbled is passed over, and a
log that cannot be understood is a UserError, so that it can be named.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from helper.errors import UserError
from helper.run.log_lines import CHECK_VALUE, EPOCH_RESULT, RESUMED, SUMMARY_VALUE, pattern
from scripts.results.option_list import is_flat, parse_options, printable

LONGEST_LINE = 1 << 20
"""Bytes; no line that matters is longer, and a file without line ends is not to fill the memory."""
LONGEST_NAME = 60
MOST_EPOCHS = 10**9
LARGEST_NUMBER = 1e12
"""Beyond it means overflow, and figures with it."""
HEADS = ("args.json", "log.txt")
"""The files in log/ by which a run folder is known."""

STAMPED = re.compile(r"\[\S{1,20} (?P<process>\d+) [^]]{1,40}\] ")
"""Wider than `log_lines.STAMP`, for logs of the original."""
EPOCH = re.compile(pattern(EPOCH_RESULT))
CHECK = re.compile("Check T prob: .{0,99}" + pattern(CHECK_VALUE))
SUMMARY = re.compile("Summary: .{0,300}?: " + pattern(SUMMARY_VALUE))


class Key(NamedTuple):
    """The settings that make two runs comparable."""

    dataset: str
    teacher: str
    student: str
    method: str
    """The distillation method; "" where only T. stddev is known."""
    augmentation: str


class EpochResult(NamedTuple):
    """After one epoch, on the test set; nan where the log has no number."""

    acc1: float
    test_loss: float


@dataclass(frozen=True)
class Run:
    """One run of train_student.py."""

    path: Path
    key: Key
    measures: bool
    """A T. stddev pass; else a distillation."""
    epochs: int
    """Asked for."""
    values: dict[str, float]
    """s_test_loss and s_acc1, or t_stddev. Empty if the run is not to be counted."""
    problem: str
    """Why it is not: how far it got. Empty if it is complete."""
    options: dict[str, Any]
    curve: dict[int, EpochResult]
    commands: list[str]
    """As typed; the first began the run, others resumed it."""

    @property
    def name(self) -> str:
        return printable(self.path.name)


@dataclass
class Log:
    """The content of a run's files."""

    options: dict[str, Any] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    job: dict[str, Any] = field(default_factory=dict)
    """Teacher, scheme and epochs, as metrics.jsonl states them."""
    curve: dict[int, EpochResult] = field(default_factory=dict)
    last_epoch: int = 0
    stddev: float = math.nan
    check: dict[str, int] = field(default_factory=dict)
    """epoch, step and total_step of the last T. stddev; group: how many steps it takes to the
    next."""
    summary: bool = False
    """The pass says that it is done."""
    writers: list[str] = field(default_factory=list)
    """Process ids of the epoch lines, each change of them."""

    def add_epoch(self, epoch: int, acc1: float, test_loss: float) -> None:
        """A resumed run may go back: what it did before from there on is void."""
        if epoch <= self.last_epoch:
            self.curve = {done: result for done, result in self.curve.items() if done < epoch}
        self.curve[epoch], self.last_epoch = EpochResult(acc1, test_loss), epoch


def find_logs(paths: Iterable[Path]) -> list[Path]:
    """Run folders (with log/args.json or log/log.txt) and log files among and below `paths`.

    UserError for a path that holds none.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_file():
            logs = [path]
        elif path.is_dir():
            logs = [
                log
                for glob in ("**/log.txt", "**/log/args.json", "args.json")
                for log in path.glob(glob)
            ]
        else:
            raise UserError(f"{printable(path)}: no such file or folder")
        if not logs:
            raise UserError(
                f"{printable(path)} holds no run (a run folder has log/args.json or log/log.txt)"
            )
        found.update((log.resolve(), log) for log in map(run_of, logs))
    return sorted(found.values(), key=lambda path: (path.name, str(path)))


def run_of(head: Path) -> Path:
    """The run folder that a file belongs to; a log that lies elsewhere stands for itself."""
    if head.parent.name != "log" and head.resolve().parent.name == "log":
        head = head.resolve()  # called from within the folder
    return head.parent.parent if head.parent.name == "log" and head.name in HEADS else head


def read_run(path: Path) -> Run | None:
    """A run folder or a log file. None if it is not train_student.py's.

    UserError if it cannot be read.
    """
    try:
        folder = path / "log"
        log = read_text_log(path if path.is_file() else folder / "log.txt")
        if (folder / "args.json").is_file():
            read_records(folder, log)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}") from None
    if not log.options:
        raise UserError("has no list of options")
    if "model_s" not in log.options:
        return None
    key, measures, epochs = key_of(log), bool(log.options.get("fix_student")), epochs_of(log)
    values, problem = measured(log, epochs) if measures else distilled(log, epochs)
    if len(set(log.writers)) < len(log.writers):
        problem = "two processes wrote into this log in turn"
    return Run(path, key, measures, epochs, {} if problem else values, problem, log.options,
               log.curve,
               log.commands)  # fmt: skip


def measured(log: Log, epochs: int) -> tuple[dict[str, float], str]:
    """(values, problem) of a T. stddev pass.

    It is complete if it says so, or if no further group fits in.
    """
    complete, check = log.summary or log.last_epoch >= epochs, log.check
    if not complete and check:
        epoch, total = check["epoch"], check["total_step"]
        steps_per_epoch = (total - check["step"]) // (epoch - 1) if epoch > 1 else math.inf
        complete = total + check["group"] >= epochs * steps_per_epoch
    if not complete:
        done = f", epoch {check['epoch']} of {epochs}" if check else " not begun"
        return {}, f"T. stddev pass{done}"
    if not math.isfinite(log.stddev):
        return {}, "a finished pass without T. stddev"
    return {"t_stddev": log.stddev}, ""


def distilled(log: Log, epochs: int) -> tuple[dict[str, float], str]:
    """(values, problem) of a distillation: those of the last epoch, as published."""
    if log.last_epoch < epochs:
        return {}, f"epoch {log.last_epoch} of {epochs}"
    last = log.curve[log.last_epoch]
    if not all(map(math.isfinite, last)):
        return {}, "its test loss or accuracy is not a number"
    return {"s_test_loss": last.test_loss, "s_acc1": last.acc1}, ""


def key_of(log: Log) -> Key:
    """From the options, and from the job where metrics.jsonl has one."""
    options = log.options
    of_file = Path(str(options.get("path_t") or "")).parent.name.split("_vanilla")[0]
    teacher = log.job.get("teacher") or options.get("model_t") or of_file or "unknown"
    scheme = str(options.get("mix_mode") or "none") if options.get("lw_mix") else "none"
    if scheme.endswith("_pick"):
        scheme += f"_{options.get('cutmix_pick_criterion') or 'kld'}"
    scheme = str(log.job.get("scheme") or scheme).replace(" by ", "_")
    names = (data_set_of(options), teacher, options["model_s"], method_of(options), scheme)
    return Key(*(printable(name)[:LONGEST_NAME] for name in names))


def data_set_of(options: dict[str, Any]) -> str:
    """Its name; of one's own images also the folder's, so that two folders are never averaged."""
    name = options.get("dataset") or "cifar100"
    return f"{name} {Path(str(options.get('data_root'))).name}" if name == "folder" else name


def method_of(options: dict[str, Any]) -> str:
    """The distillation method.

    A method that compares features is joined by kd if there is an --alpha: kd+crd.
    """
    name, alpha = str(options.get("distill") or "kd"), options.get("alpha")
    if name == "kd" or not alpha or alpha == [0]:
        return name
    from distiller_zoo import LogitDistiller, distillers  # it needs PyTorch, which takes a second

    known = [distillers[part] for part in name.split("+") if part in distillers]
    return name if any(issubclass(kind, LogitDistiller) for kind in known) else f"kd+{name}"


def epochs_of(log: Log) -> int:
    """The epochs asked for.

    The original's list may show --epochs before --epoch_factor has multiplied it.
    """
    listed, factor = (
        log.job.get("epochs", log.options.get("epochs")),
        log.options.get("epoch_factor"),
    )
    if not isinstance(listed, int) or not 1 <= listed < MOST_EPOCHS:
        raise UserError(f"its list of options has no usable epochs ({printable(listed)[:40]})")
    if "epochs" in log.job or not log.commands:
        return listed
    if not isinstance(factor, (int, float)) or not 0 < factor < 10**6:
        return listed
    typed = re.findall(r"--epochs[ =](\d{1,9})\b", log.commands[0])
    return int(listed * factor) if listed == int(typed[-1] if typed else 240) else listed


def read_records(folder: Path, log: Log) -> None:
    """Replace by what args.json and metrics.jsonl say, where both can be read.

    A garbled record is passed over.
    """
    try:
        options = json.loads((folder / "args.json").read_text(encoding="utf-8"))
        lines = list(lines_of(folder / "metrics.jsonl"))
    except (OSError, ValueError, RecursionError):
        return
    if not isinstance(options, dict) or not options:
        return
    found = Log(options={name: value for name, value in options.items() if is_flat(value)})
    for line in lines:
        try:
            add_record(found, json.loads(line))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    if found.job or not log.options:
        log.options, log.job, log.writers = found.options, found.job, []
        log.curve, log.last_epoch = found.curve, found.last_epoch
        if found.summary:
            log.summary, log.stddev = True, found.stddev


def add_record(log: Log, record: dict[str, Any]) -> None:
    """One line of metrics.jsonl."""
    kind = record["kind"]
    if kind == "epoch" and isinstance(record["epoch"], int) and 0 < record["epoch"] < MOST_EPOCHS:
        log.add_epoch(record["epoch"], number(record.get("acc1")), number(record.get("test_loss")))
    elif kind == "summary":
        log.summary, log.stddev = True, number(record.get("t_stddev"))
    elif kind == "job":
        log.job = {name: record[name] for name in ("teacher", "scheme", "epochs")}


def read_text_log(path: Path) -> Log:
    """A log.txt; an empty Log if there is none. Raises UserError, OSError."""
    log, head = Log(), None
    if not path.exists():
        return log
    for raw in lines_of(path):
        stamp = STAMPED.match(raw)
        line = raw[stamp.end() :] if stamp else raw
        if head is not None and (stamp or line.startswith("('")):
            log.commands.append("\n".join(head).strip())
            head = None
        if line.startswith("('"):
            log.options |= parse_options(line)
        elif head is not None:
            head.append(line)  # a quoted argument may hold line ends
        elif line.startswith("cd ") and not stamp:
            head = []
        elif line.startswith(RESUMED):
            log.commands.append(line.removeprefix(RESUMED))
        else:
            add_line(log, line, stamp["process"] if stamp else "")
    return log


def add_line(log: Log, line: str, process: str) -> None:
    """One line of log.txt, without its stamp."""
    if found := EPOCH.match(line):
        log.add_epoch(int(found["epoch"]), number(found["acc1"]), number(found["test_loss"]))
        if log.writers[-1:] != [process]:
            log.writers.append(process)
    elif found := CHECK.match(line):
        before, shortest = log.check.get("total_step", -1), log.check.get("group", MOST_EPOCHS)
        check = {name: int(found[name]) for name in ("epoch", "step", "total_step")}
        steps = check["total_step"] - before
        log.check = check | {"group": min(shortest, steps) if steps > 0 else shortest}
        log.stddev = number(found["t_stddev"])
    elif found := SUMMARY.match(line):
        log.summary, log.stddev = True, number(found["t_stddev"])


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a text file.

    What goes beyond LONGEST_LINE is dropped, what is no UTF-8 replaced.
    """
    with open(path, "rb") as file:
        is_rest = False
        while piece := file.readline(LONGEST_LINE):
            if not is_rest:
                yield piece.decode("utf-8", errors="replace").rstrip("\r\n")
            is_rest = not piece.endswith(b"\n")


def number(value: Any) -> float:
    """nan where it is none, or none that was ever measured."""
    try:
        found = math.nan if value is None or isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        return math.nan
    return found if abs(found) < LARGEST_NUMBER else math.nan
