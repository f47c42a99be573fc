"""Run folders by name, and continuing a run where it stopped."""

import argparse
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from helper.errors import UserError
from helper.processes import distributed
from helper.run import last_two
from helper.run.files import Lock, take_lock
from helper.run.folder import RunFolder, SilentRunFolder, no_run_folder
from helper.run.same import MAY_CHANGE, SAME, Runs, State, identity, read_options


class Resumable(Protocol):
    """The progress of a run."""

    epoch: int
    """The last complete one."""
    step: int
    """Steps done of the one under way."""

    def restore(self, checkpoint: dict[str, Any], *, flag: str, path: str | Path) -> None:
        """Continue from `checkpoint`. UserError if it is not one of this run's."""


class Claim(NamedTuple):
    """The run that `--resume_ExpID same` has found.

    Keep it until the run ends: it keeps other processes out.
    """

    is_done: bool
    file: IO[str] | None = None


def claim_same(
    options: argparse.Namespace,
    program: str,
    defaults: Mapping[str, Any],
    *,
    product: Path | None = None,
) -> Claim:
    """Carry out `--resume_ExpID same`; a process that torchrun started again does so by itself.

    If the run of this very command was interrupted, `options` are changed to resume it, with its
    seed. Where there is none, a new run is to begin. It is not done while `product`, a file that it
    writes, is absent. `defaults`: the program's options where none are given. UserError if another
    process runs the command.
    """
    is_restart = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    names_a_run = any(getattr(options, name, "") for name in ("resume", "resume_student"))
    if options.resume_ExpID != SAME and (options.resume_ExpID or names_a_run or not is_restart):
        return Claim(is_done=False)
    key, runs = (
        identity(vars(options), defaults),
        Runs(run_root(options), program, lambda given: identity(given, defaults)),
    )
    state = None
    if distributed.is_first():
        state = (
            last_begun(runs, key, options.epochs) if is_restart else runs.look(key, options.epochs)
        )
        if state.name == "done" and product is not None and not product.exists():
            state = state._replace(name="interrupted")
    state = distributed.agreed(state)
    if state.name == "running":
        raise UserError(f"--resume_ExpID same: this command is running already {state.note}")
    if state.name == "done":
        print(f"this command is done, see {state.run}", flush=True)
        return Claim(is_done=True)
    options.resume_ExpID = ""
    if state.name == "interrupted":
        options.resume_ExpID = state.run.name
        options.seed = (read_options(state.run) or {}).get("seed", options.seed)
    elif not options.dry_run and distributed.is_first():
        return Claim(is_done=False, file=lock_command(run_root(options), key))
    return Claim(is_done=False)


def last_begun(runs: Runs, key: str, epochs: int) -> State:
    """The newest run of a job, which torchrun starts anew: it is known to have died."""
    for run in reversed(runs.of(key, epochs)):
        if last_two.newest_in(run / "weights") is not None:
            return State("interrupted", run)
    return State("to do")


def lock_command(root: Path, key: str) -> IO[str]:
    """Nobody else begins this command while the file is open. UserError if somebody does."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = open(root / ".commands.lock", "a+")
    except OSError as error:
        raise no_run_folder(root, error) from None
    if not take_lock(file, byte=zlib.crc32(key.encode())):
        raise UserError("--resume_ExpID same: this command is running already, it has just begun")
    return file


class Resumed(NamedTuple):
    """A run that is continued."""

    path: Path
    lock: Lock | None
    logged: dict[str, int]
    """How long its logs were when the checkpoint was written; empty if nothing of them is to be
    done again."""
    step: int
    """Steps of all its epochs so far."""
    warnings: list[str]
    falls_back: bool
    """Whether the latest checkpoint is damaged, and the previous one was taken."""


def resume(
    options: argparse.Namespace,
    state: Resumable,
    program: str,
    flag: str,
    *,
    steps_per_epoch: int,
    **found_out: str,
) -> Resumed | None:
    """Continue `state` from the run that `flag` or --resume_ExpID names.

    Returns that run, if any, locked.

    UserError if there is no such run, if it is another job, in use, or past the epochs asked for. A
    run that has just those is left as it is: nothing remains to be done.
    """
    path = getattr(options, flag.removeprefix("--"))
    if not path and not options.resume_ExpID:
        return None
    if not path:
        flag = f"--resume_ExpID {options.resume_ExpID}:"
        first = distributed.is_first()
        path = find_checkpoint(options.resume_ExpID, run_root(options), program) if first else ""
        path = distributed.agreed(str(path))
    check_file(flag, path)
    run = Path(path).resolve().parent.parent
    check_same_job(options, program, flag, run, found_out)
    lock = Lock(run, create=not options.dry_run) if distributed.is_first() else None
    try:
        taken, logged, warnings = restore_newest(state, flag, Path(path))
        if state.epoch > options.epochs:
            raise UserError(
                f"{flag} {path}: {state.epoch} epochs are done, more than --epochs {options.epochs}"
            )
    except UserError:
        if lock is not None:
            lock.discard()
        raise
    distributed.wait()  # until all have read what the first may write anew
    if state.epoch == options.epochs:
        logged = {}
    step = state.epoch * steps_per_epoch + state.step
    return Resumed(run, lock, logged, step, warnings, taken != Path(path))


def check_file(flag: str, path: str) -> None:
    """UserError unless there is a file, or what a process that died in between has left of it."""
    if not any(candidate.exists() for candidate in (Path(path), *last_two.candidates(Path(path)))):
        raise UserError(f"{flag} {path} does not exist")


def restore_newest(
    state: Resumable, flag: str, path: Path
) -> tuple[Path, dict[str, int], list[str]]:
    """Fill `state` from `path` or, if that is damaged, from the checkpoint before it.

    Returns the file, the lengths of the logs then, and what to say of it. UserError if neither will
    do.
    """
    problems: list[UserError] = []
    for candidate in last_two.candidates(path):
        try:
            checkpoint, lengths = last_two.read_with_lengths(flag, candidate)
            state.restore(checkpoint, flag=flag, path=candidate)
        except UserError as error:
            problems.append(error)
            continue
        warnings = [f"warning: {problem}; going on from {candidate.name}" for problem in problems]
        return candidate, lengths, warnings
    raise problems[0]


def check_same_job(
    options: argparse.Namespace, program: str, flag: str, run: Path, found_out: dict[str, str]
) -> None:
    """UserError unless `run` is a run of `program` with these options; MAY_CHANGE may differ.

    What the run `found_out` itself, as the teacher's model and checksum, must be the same too.
    """
    before = read_options(run)
    if before is None:
        raise UserError(f"{flag} {run} is no run folder: its log/args.json is absent or damaged")
    if before.get("program", program) != program:
        raise UserError(f"{flag} {run} is a run of {before['program']}")
    now = json.loads(json.dumps(vars(options) | found_out, default=str))
    for name, value in now.items():
        given_before = before.get(name, value)
        if name not in MAY_CHANGE and given_before != value:
            word = name.replace("_", " ") if name in found_out else f"--{name}"
            word = "plugins of SHA-256" if name == "plugin_sha256" else word
            raise UserError(f"{flag} {run}: that run had {word} {given_before}, not {value}")


def find_checkpoint(exp_id: str, root: Path, program: str) -> Path:
    """The checkpoint of the run whose name holds `exp_id`.

    "latest": of the newest run of `program`.
    """
    newest = [last_two.newest_in(run / "weights") for run in root.glob("*")]
    found = sorted(filter(None, newest), key=lambda path: path.stat().st_mtime)
    if exp_id == "latest":
        found = [path for path in found if is_run_of(program, path.parent.parent)]
    elif whole := [path for path in found if exp_id == path.parent.parent.name]:
        found = whole
    else:
        found = [path for path in found if exp_id in path.parent.parent.name]
        if len(found) > 1:
            names = ", ".join(path.parent.parent.name for path in found)
            raise UserError(f"--resume_ExpID {exp_id} could be any of {names}")
    if not found:
        raise UserError(
            f"--resume_ExpID {exp_id}: {root}/ has no run of that name with a checkpoint"
        )
    return found[-1].with_name(last_two.LATEST)


def is_run_of(program: str, run: Path) -> bool:
    return (read_options(run) or {}).get("program") == program


def open_run(
    options: argparse.Namespace, resumed: Resumed | None, program: str, **found_out: str
) -> RunFolder:
    """A new run folder, or the one that is continued. `found_out` is listed with the options.

    Of several processes the first alone writes.
    """
    if not distributed.is_first():
        return SilentRunFolder(Path(distributed.agreed(None)))
    run = _open_run(options, resumed, program, **found_out)
    if distributed.size() > 1:
        distributed.agreed(str(run.path))
        distributed.log_fault = run.log
    return run


def _open_run(
    options: argparse.Namespace, resumed: Resumed | None, program: str, **found_out: str
) -> RunFolder:
    if resumed is not None:
        if resumed.falls_back:
            last_two.fall_back(resumed.path / "weights")
        assert resumed.lock is not None  # the first process has it
        return RunFolder.reopen(resumed.path, resumed.lock, resumed.logged, resumed.step)
    listed = vars(options) | found_out | {"program": program}
    words = options.expanded.spelled_out if options.from_log else ()
    return RunFolder.create(run_root(options), options.project_name, listed, words)


def run_root(options: argparse.Namespace) -> Path:
    return Path("Debug_Dir" if options.debug else "Experiments")


def teacher_path(options: argparse.Namespace) -> Path:
    """The path of the weights that train_teacher.py writes, in the layout that --path_t reads.

    UserError if that folder can be neither written nor made: better now than after the training.
    """
    target = (
        Path(options.model_path) / f"{options.model}_vanilla" / f"ckpt_epoch_{options.epochs}.pth"
    )
    there = next(folder for folder in target.absolute().parents if os.path.exists(folder))
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise UserError(
            f"--model_path {options.model_path}: {there} is not a folder that can be written"
        )
    return target
