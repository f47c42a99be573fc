#!/usr/bin/env python3
"""One command that sweep.py printed, wherever it stands: begin it, go on with it, or find it done.

For cluster tasks.

    python scripts/sweep.py --dataset cifar100 --kind both --print > commands.txt
    python scripts/sweep_line.py commands.txt 7        # the seventh

This process becomes the command, with --resume_ExpID same: signals reach it, the exit status is its
own. It holds the job's lock, so that neither another task nor a sweep starts it too. Where the job
seems to be running already, maybe on another host, this waits until its run shows progress, and
leaves it alone, or proves dead. Words ahead of train_student.py are kept: variables, python,
torchrun with its options.

Exit status: that of the command; 0 if it is finished, or run by another process; 2 bad input.
"""

import os
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.cli.options import parse_student
from helper.cli.parser import OptionParser, number
from helper.errors import UserError, one_line_errors
from helper.run.same import SAME, SILENT_SECONDS, State
from scripts.sweep.jobs import PICK, TRAINER, Job, key_of
from scripts.sweep.states import JobRuns, make_folder, take_lock

PROGRAM = "sweep_line.py"
PAUSE = 5.0
PATIENCE = SILENT_SECONDS + 100.0
"""Seconds between two looks at a run that another process may be at, and until it is left alone in
any case."""


def read_line(path: str, number: int) -> tuple[list[str], Job]:
    """(the words ahead, up to train_student.py, the job) of a line.

    UserError if no sweep can have printed it.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', error)}") from None
    if number > len(lines):
        raise UserError(f"{path} has {len(lines)} lines, there is no line {number}")
    where, line = f"{path}, line {number}", lines[number - 1]
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    programs = [index for index, word in enumerate(words) if os.path.basename(word) == TRAINER]
    if not programs:
        raise UserError(f"{where} is no command of {TRAINER}: {line[:200]!r}")
    split = programs[0] + 1
    job = job_of(words[split:], where)
    if not os.path.exists(words[programs[0]]):
        raise UserError(
            f"{where}: there is no {words[programs[0]]} here; call this from the folder where it"
            " was printed"
        )
    return words[:split], job


def job_of(words: Sequence[str], where: str) -> Job:
    """The job of a command, the same as that of the sweep that printed it."""
    words = list(words)
    if "--resume_ExpID" in words:
        index = words.index("--resume_ExpID")
        del words[index : index + 2]
    options = parse_student(words)
    for name in ("debug", "dry_run", "resume_student", "resume_ExpID"):
        if getattr(options, name):
            raise UserError(f"{where}: --{name} has no place in a sweep")
    pair = f"{Path(options.path_t).parent.name.removesuffix('_vanilla')}/{options.model_s}"
    kind = "stddev" if options.fix_student else "train"
    scheme, key = scheme_of(options), key_of(vars(options))
    return Job(kind, pair, scheme, options.trial, tuple(words), options.epochs, key)


def scheme_of(options: Namespace) -> str:
    is_pick = options.mix_mode == PICK[:-1]
    return f"{PICK}{options.cutmix_pick_criterion}" if is_pick else str(options.mix_mode)


def claim(job: Job) -> tuple[State, int | None]:
    """The job's state and its lock; None if another process runs it."""
    stop, logged = time.monotonic() + PATIENCE, None
    while True:
        runs, lock = JobRuns(), take_lock(job)
        state = State("running", note="by a sweep")
        if lock is not None:
            state = runs.state_of(job)
            if state.name != "running":
                return state, lock
            os.close(lock)
        before = logged
        logged = sum((run / "log" / "log.txt").stat().st_size for run in runs.of(job.key))
        if before is None:
            say(f"{job} seems to be running {state.note}; waiting to see whether it is")
        elif logged > before or time.monotonic() > stop:
            return state, None
        time.sleep(PAUSE)


def say(text: str) -> None:
    print(f"{PROGRAM}: {text}", flush=True)


def main(argv: Sequence[str]) -> None:
    description, _, details = (__doc__ or "").partition("\n")
    parser = OptionParser(prog=PROGRAM, description=description, epilog=details)
    parser.add_argument("file", metavar="FILE", help="what sweep.py --print printed")
    parser.add_argument(
        "number", metavar="N", type=number(int, 1), help="which of its lines, from 1"
    )
    options = parser.parse(argv)
    ahead, job = read_line(options.file, options.number)
    make_folder()
    state, lock = claim(job)
    if lock is None:
        say(f"{job} is running {state.note}: left to it")
    elif state.name == "done":
        say(f"{job} is done: {state.run}")
    else:
        say(f"{job}: {f'goes on, {state.note}' if state.name == 'interrupted' else 'begins'}")
        os.set_inheritable(lock, True)
        os.execvp("env", ["env", *ahead, *job.words, "--resume_ExpID", SAME])


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        main(sys.argv[1:])
