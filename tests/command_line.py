"""Runs the entry scripts in this process, the way their `__main__` does, and reads what they
wrote."""

import json
import re
from pathlib import Path

import numpy as np
import torch

import train_student
import train_teacher
from helper.errors import one_line_errors
from helper.processes.interruption import listening

TINY = (
    "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 44 --limit_test 24 "
    "--batch_size 16 --device cpu"
)
"""Three steps an epoch, the last one of 12 images."""
PROGRAMS = {module.PROGRAM: module for module in (train_student, train_teacher)}
STAMP = re.compile(r"^\[\d{6} \d+ \d{4}/\d\d/\d\d-\d\d:\d\d:\d\d\] ", re.MULTILINE)


def run(program, *words):
    """`run("train_student.py", "--epochs 1", ...)`: each argument is split at its blanks."""
    module = PROGRAMS[program]
    with one_line_errors(module.PROGRAM), listening():
        module.main([part for word in words for part in str(word).split()])


def the_run(root="Experiments"):
    """The only run folder there is."""
    (path,) = Path(root).iterdir()
    return path


def new_run(program, *words, root="Experiments"):
    """Run, and return the folder of that run."""
    before = set(Path(root).glob("*"))
    run(program, *words)
    (path,) = set(Path(root).iterdir()) - before
    return path


def log_lines(path):
    """The lines of log.txt after its head, without their stamps."""
    lines = (path / "log" / "log.txt").read_text().split("\n\n", 2)[2].splitlines()
    assert lines and all(STAMP.match(line) for line in lines), lines
    return [STAMP.sub("", line) for line in lines]


def metrics(path, kind=None):
    """The objects in metrics.jsonl; those of one kind if it is given."""
    entries = [
        json.loads(line) for line in (path / "log" / "metrics.jsonl").read_text().splitlines()
    ]
    return [entry for entry in entries if kind in (None, entry["kind"])]


def without_clock(entries):
    """Metrics without what may differ between two equal runs."""
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]


def load(path):
    """A checkpoint, read as data only."""
    return torch.load(path, weights_only=True)


def identical(a, b):
    """Bit-for-bit equality of nested dicts, lists and tensors."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(identical(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(identical, a, b))
    if torch.is_tensor(a):
        return (
            a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
        )
    return np.array_equal(a, b, equal_nan=isinstance(a, float))


def snapshot(*folders):
    """Everything below the folders: path -> content, None for a folder."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for folder in folders
        for path in Path(folder).rglob("*")
    }
