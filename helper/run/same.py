"""`--resume_ExpID same`: the run of a command, found among the run folders by its options.

Two commands are the same if all options agree that decide a run's numbers, and --epochs. A command
without --seed is the same as another without it, whatever seed was drawn.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from helper.errors import UserError
from helper.run.files import Lock
from helper.run.last_two import newest_in
from helper.run.log_lines import DONE, INTERRUPTED, STOPPED

SAME = "same"
MAY_CHANGE = frozenset(
    "epochs epoch_factor lr_decay_epochs seed seed_is_drawn device num_workers plugin data_root"
    " cache_dir path_t model_t_pretrained finetune_student model_s_pretrained pretrained model_path"
    " tb_path project_name debug note print_interval tb_freq save_freq save_img_interval"
    " screen_print test_teacher dry_run from_log resume resume_student resume_ExpID".split()
)
"""Options that a resumed run need not repeat; any other must be what it was."""
UNIMPORTANT = MAY_CHANGE - set(
    "lr_decay_epochs path_t finetune_student model_s_pretrained pretrained model_path".split()
) | {"model_t"}
"""Options that do not tell two jobs apart. The seed and the epochs do, in a way of their own."""
SILENT_SECONDS, ENDING_SECONDS = 900, 60
"""A run on another host counts as alive for so long after its last log line, or after the line that
it ends."""


class State(NamedTuple):
    """The state of a job: "done", "running", "interrupted" or "to do"."""

    name: str
    run: Path | None = None
    note: str = ""
    """A line for the user."""


def identity(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """The options that make a job what it is, as text; --epochs apart.

    Equal for two runs of the same job.

    options: of a run's args.json, or of a command; one that the run did not know yet had its
    default. `defaults` names all options of the program.
    """
    options = json.loads(json.dumps(dict(options), default=str))
    defaults = json.loads(json.dumps(dict(defaults), default=str))
    differing = {
        name: options[name]
        for name in sorted(defaults.keys() & options.keys() - UNIMPORTANT)
        if options[name] != defaults[name]
    }
    if options.get("path_t"):
        differing["path_t"] = os.path.relpath(options["path_t"])
    if options.get("dataset") == "folder":  # a public data set is the same wherever it lies
        differing["data_root"] = os.path.relpath(options["data_root"])
    differing["seed"] = None if options.get("seed_is_drawn") else options.get("seed")
    return json.dumps(differing, sort_keys=True)


class Runs:
    """The run folders of one program in `root`, by job.

    key: makes of a run's options what its job is known by, see `identity`.
    """

    def __init__(self, root: Path, program: str, key: Callable[[dict[str, Any]], str]) -> None:
        self.root, self.program, self.key = root, program, key
        self._keys: dict[Path, str | None] = {}

    def of(self, key: str, epochs: int | None = None) -> list[Path]:
        """The runs of a job, the oldest first.

        Only those that were asked for so many epochs, if they are given.
        """
        heads = sorted(
            self.root.glob("*/log/args.json"), key=lambda head: head.parent.parent.name[-15:]
        )
        for head in heads:
            if head not in self._keys:
                self._keys[head] = self._key_of(head)
        runs = [head.parent.parent for head in heads if self._keys[head] == key]
        return [run for run in runs if epochs in (None, epochs_of(run))]

    def _key_of(self, head: Path) -> str | None:
        """None if it is no run of this program."""
        options = read_options(head.parent.parent)
        if options is None or options.get("program") != self.program:
            return None
        return self.key(options)

    def look(self, key: str, epochs: int) -> State:
        """How far the job is.

        It is done if any of its runs is; of interrupted runs the one that came furthest counts.
        """
        runs = self.of(key, epochs)
        for run in runs:
            if is_done(run):
                return State("done", run)
        for run in runs:
            if is_alive(run):
                return State("running", run, f"in {run}, last seen on {host_of(run)}")
        saved = [(last_epoch(run), run) for run in runs if newest_in(run / "weights") is not None]
        if not saved:
            return State("to do")
        epoch, run = max(saved)
        return State("interrupted", run, f"{f'epoch {epoch} of {epochs}, ' if epoch else ''}{run}")


def read_options(run: Path) -> dict[str, Any] | None:
    """A run's args.json; None if there is none, or a damaged one."""
    try:
        options = json.loads((run / "log" / "args.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return options if isinstance(options, dict) else None


def last_records(run: Path) -> dict[str, dict[str, Any]]:
    """The last record of each kind in metrics.jsonl; a line cut off by a kill is passed over."""
    records: dict[str, dict[str, Any]] = {}
    try:
        text = (run / "log" / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return records
    for line in text.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            record = json.loads(line)
            records[record["kind"]] = record
    return records


def last_epoch(run: Path) -> int:
    """The last complete epoch of a training; 0 where there is none, as in a T. stddev pass."""
    return last_records(run).get("epoch", {}).get("epoch", 0)


def epochs_of(run: Path) -> int:
    """The epochs that a run was last asked for; a resumed run may be given more."""
    records = last_records(run)
    if "job" in records:
        return records["job"].get("epochs", 0)
    return max((read_options(run) or {}).get("epochs", 0), last_epoch(run))


def is_done(run: Path) -> bool:
    """True if a run has come to its end: its last line says so, logged when all is saved."""
    return any(f"] {DONE}" in line for line in tail(run / "log" / "log.txt")[-1:])


def is_alive(run: Path) -> bool:
    """True if a process is at work in a run: its lock tells, on another host also the log's age."""
    if is_locked(run):
        return True
    log = run / "log" / "log.txt"
    try:
        ends = any(
            f"] {word}" in line for line in tail(log)[-1:] for word in (INTERRUPTED, STOPPED)
        )
        is_recent = time.time() - log.stat().st_mtime < (ENDING_SECONDS if ends else SILENT_SECONDS)
        return is_recent and host_of(run) not in ("", socket.gethostname())
    except OSError:
        return False


def is_locked(run: Path) -> bool:
    try:
        Lock(run, create=False).release()
    except UserError:
        return True
    return False


def host_of(run: Path) -> str:
    """The host that a run was last on, from its lock or its log; "" if unknown."""
    for name, index in (("lock", -1), ("log.txt", 1)):
        with (
            contextlib.suppress(OSError, IndexError),
            open(run / "log" / name, errors="replace") as file,
        ):
            return file.readline().split()[index]
    return ""


def tail(path: Path, size: int = 8192) -> list[str]:
    """The last lines that are not empty."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]
