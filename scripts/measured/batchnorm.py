#!/usr/bin/env python3
"""S. test loss of finished students, BatchNorm's statistics from the first view alone.

    python scripts/measured/batchnorm.py --work runs

Running statistics take no part in training: the weights are the same whichever views they come
from. So a finished student is enough. Its statistics are taken anew, as the mean over two epochs of
batches, once of both views and once of the first. (The moving average of a run has a memory of ten
updates: its noise alone moves S. test loss by half a percent. The mean has no such noise.) The rows
go to batchnorm.csv. Picks are left out: they need the teacher.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import datasets
from helper.cli.options import data_request, parse_student
from helper.loop.metrics import evaluate
from helper.setup.batches import make_batches
from helper.setup.machine import make_generators
from helper.setup.networks import new_model
from helper.setup.views import make_augmentation
from scripts.measured.plan import SETUPS, Run, schemes
from scripts.measured.students import HERE, write

BATCHNORM = HERE / "batchnorm.csv"
EPOCHS = 2


@torch.no_grad()
def compare(run: Run, folder: Path, data_root: Path) -> dict[str, object]:
    """The student's losses as trained, with mean statistics of both views, and of the first."""
    options, device = (
        parse_student([*run.words, "--data_root", str(data_root)]),
        torch.device("cpu"),
    )
    data = datasets[options.dataset].load(data_request(options))
    generators = make_generators(run.seed)
    student = new_model(options.model_s, data.spec, device, generators["weights"])
    weights = torch.load(max(folder.glob("Experiments/*/weights/ckpt.pth")), weights_only=True)
    student.load_state_dict(weights["model"])
    augment = make_augmentation(options, data.spec)
    assert augment is not None
    row = json.loads((folder / "row.json").read_text())
    row = {
        name: row[name] for name in ("setup", "scheme", "seed", "commit", "s_test_loss", "s_acc1")
    }
    layers = [m for m in student.modules() if isinstance(m, nn.BatchNorm2d)]
    for name in ("both", "first"):
        generators = make_generators(run.seed)  # the same batches for both
        splits = make_batches(data, options, device, generators["data"])
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
        student.train()
        for _ in range(EPOCHS):
            for images, *_ in splits.train:
                student(images)
                if name == "both":
                    student(augment(images, generators["views"]).images)
        result = evaluate(student, splits.test)
        row |= {f"loss_{name}": f"{result.loss:.6f}", f"acc1_{name}": f"{result.acc1:.2f}"}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data_root", type=Path, default=HERE.parents[1] / "data")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    if BATCHNORM.exists():
        with open(BATCHNORM, newline="") as file:
            rows = {(r["setup"], r["scheme"], int(r["seed"])): r for r in csv.DictReader(file)}
    for setup in SETUPS.values():
        for scheme in schemes(setup):
            for seed in range(1, 6):
                run = Run(setup, scheme, seed)
                folder = options.work / "runs" / run.folder
                name = (setup.name, scheme.name, seed)
                if "pick" in scheme.name:
                    continue
                if name not in rows and (folder / "row.json").exists():
                    rows[name] = compare(run, folder, options.data_root)
                    print(rows[name], flush=True)
    write(BATCHNORM, [rows[name] for name in sorted(rows)])


if __name__ == "__main__":
    main()
