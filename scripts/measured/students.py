#!/usr/bin/env python3
"""Train the students of the evidence, and collect their results.

    # a teacher
    python scripts/measured/students.py --work runs --teacher embedded_wrn_16_1
    # the students that are not finished, two at a time
    python scripts/measured/students.py --work runs --jobs 2
    # the finished runs' rows join those of scripts/measured/students.csv
    python scripts/measured/students.py --work runs --collect

Each run is one command of train_student.py in a folder of its own. Started again, the queue skips
finished runs and goes on with interrupted ones. A file STOP in the folder --work ends it after the
runs under way. --code runs the two scripts of another checkout, so that changes to this one do not
mix in; every row has the commit of the code that ran.
"""

import argparse
import csv
import fcntl
import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.measured.plan import SETUPS, Run, Setup, queue

HERE = Path(__file__).resolve().parent
STUDENTS = HERE / "students.csv"


class Queue:
    """The runs, what they need, and the workers that share them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.work, self.code = options.work.resolve(), options.code.resolve()
        self.data_root, self.python = options.data_root.resolve(), options.python
        self.only, self.known = options.only, set(options.schemes)
        self.commit = commit(self.code)
        self.refused: set[Path] = set()
        """Folders of runs that failed in this process; they are tried again in the next."""

    def work_through(self, _: int = 0) -> None:
        """One worker: run after run, until nothing is left that can be run."""
        while (taken := self.take()) is not None:
            (run, lock), folder = taken, self.folder(taken[0])
            with lock:
                if not self.train(run, folder):
                    self.refused.add(folder)
                    print(f"failed: {folder}/output.txt", flush=True)

    def take(self) -> tuple[Run, IO[str]] | None:
        """The next run that is not finished, whose teacher is there and that nobody else has."""
        if (self.work / "STOP").exists():
            return None
        for run in self.wanted():
            folder = self.folder(run)
            if (folder / "row.json").exists() or folder in self.refused:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            lock = open(folder / "lock", "w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            return run, lock
        return None

    def wanted(self) -> Iterator[Run]:
        for run in queue():
            is_wanted = not self.known or run.scheme.name in self.known
            is_wanted &= not self.only or run.setup.name in self.only.split(",")
            if is_wanted and self.teacher(run.setup).exists():
                yield run

    def folder(self, run: Run) -> Path:
        return self.work / "runs" / run.folder

    def teacher(self, setup: Setup) -> Path:
        return self.work / "teachers" / setup.name / setup.teacher_file

    def train(self, run: Run, folder: Path) -> bool:
        """Returns whether the run is finished."""
        words = [*run.words, "--path_t", str(self.teacher(run.setup))]
        if not (folder / "commit").exists():
            (folder / "commit").write_text(self.commit)
        ok = self.call("train_student.py", words, folder)
        if ok:
            row = row_of(run, folder) | {"commit": (folder / "commit").read_text()}
            partial = folder / ".row.json"
            partial.write_text(json.dumps(row, indent=1))
            partial.replace(folder / "row.json")
            print(f"{run.folder}: S. test loss {row['s_test_loss']:.4f}", flush=True)
        return ok

    def train_teacher(self, setup: Setup) -> bool:
        target = self.teacher(setup).parents[1]
        if self.teacher(setup).exists():
            return True
        target.mkdir(parents=True, exist_ok=True)
        words = [
            "--model", setup.teacher, *setup.teacher_data.split(), "--seed", "1",
            "--epochs", str(setup.teacher_epochs), "--lr_decay_epochs", setup.teacher_rate_steps,
            "--model_path", str(target),
        ]  # fmt: skip
        return self.call("train_teacher.py", words, target)

    def call(self, script: str, words: list[str], folder: Path) -> bool:
        """One of the two scripts in a folder of its own; it goes on where a kill left it."""
        command = [self.python, str(self.code / script), *words, "--data_root", str(self.data_root)]
        command += ["--resume_ExpID", "same"]
        with open(folder / "output.txt", "a") as output:
            return not subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            ).returncode


def commit(code: Path) -> str:
    """The commit of a checkout."""
    words = ["git", "-C", str(code), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def row_of(run: Run, folder: Path) -> dict[str, object]:
    """A finished run's row of students.csv."""
    log = max(folder.glob("Experiments/*/log/metrics.jsonl")).parent
    records = read_records(log / "metrics.jsonl")
    last = [record for record in records if record["kind"] == "epoch"][-1]
    assert last["epoch"] == run.setup.epochs, f"{log} is not finished"
    words = [*run.words, "--path_t", run.setup.teacher_file]
    return {
        "setup": run.setup.name,
        "teacher": run.setup.teacher,
        "student": run.setup.student,
        "family": run.scheme.family,
        "strength": run.scheme.strength,
        "scheme": run.scheme.name,
        "seed": run.seed,
        "epochs": last["epoch"],
        "s_test_loss": last["test_loss"],
        "s_acc1": last["acc1"],
        "s_best_acc1": last["best_acc1"],
        "commit": "",
        "device": json.loads((log / "provenance.jsonl").read_text().split("\n")[0])["device"],
        "command": shlex.join(["python", "train_student.py", *words]),
    }


def read_records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def collect(work: Path) -> None:
    """Finished runs' rows join those that students.csv has.

    A run that is there already is replaced.
    """
    rows: dict[tuple, dict] = {}
    if STUDENTS.exists():
        with open(STUDENTS, newline="") as file:
            rows = {key(row): row for row in csv.DictReader(file)}
    before = len(rows)
    for path in sorted(work.glob("runs/*/*/*/row.json")):
        row = {name: str(value) for name, value in json.loads(path.read_text()).items()}
        rows[key(row)] = row
    write(STUDENTS, [rows[name] for name in sorted(rows)])
    print(f"{STUDENTS.name}: {len(rows)} runs, {len(rows) - before} of them new")


def key(row: dict) -> tuple:
    return row["setup"], row["family"], row["scheme"], int(row["seed"])


def write(path: Path, rows: list[dict]) -> None:
    partial = path.with_name(f".{path.name}")
    with open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = HERE.parents[1]
    parser.add_argument(
        "--work", type=Path, default=Path("measured_runs"), help="folder of all runs"
    )
    parser.add_argument("--code", type=Path, default=root, help="checkout whose scripts run")
    parser.add_argument("--data_root", type=Path, default=root / "data")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--only", default="", help=f"setups, of {','.join(SETUPS)}")
    parser.add_argument("--schemes", nargs="*", default=[], help="only these second views")
    parser.add_argument("--teacher", choices=SETUPS, help="train this setup's teacher, no student")
    parser.add_argument("--collect", action="store_true", help="write students.csv, train nothing")
    options = parser.parse_args()
    if options.collect:
        collect(options.work)
        return
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    jobs = Queue(options)
    if options.teacher:
        sys.exit(0 if jobs.train_teacher(SETUPS[options.teacher]) else 1)
    workers = [threading.Thread(target=jobs.work_through, args=(i,)) for i in range(options.jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
