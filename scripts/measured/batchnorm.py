#!/usr/bin/env python3
"""S. test loss with BatchNorm's running statistics from the first view alone, for every finished student.

    python scripts/measured/batchnorm.py --work runs

Running statistics take no part in training: the weights are the same whichever view they come from. So a finished
student is enough: its statistics are followed over further training batches, first views only, with the weights
fixed (at the end of a run the rate is a thousandth, and the weights hardly move). The rows go to batchnorm.csv.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.measured.plan import SETUPS, Run, schemes
from scripts.measured.students import HERE, write

BATCHNORM = HERE / "batchnorm.csv"
STEPS = 72
"""What was there before then counts .9^72 = 0.0005."""


@torch.no_grad()
def compare(run: Run, folder: Path, data_root: Path) -> dict[str, object]:
    """The student's losses with the statistics of both views, as trained, and of the first."""
    from dataset import datasets
    from helper.cli.options import data_request, parse_student
    from helper.loop.metrics import evaluate
    from helper.setup.batches import make_batches
    from helper.setup.machine import make_generators
    from helper.setup.networks import new_model

    options, device = (
        parse_student([*run.words, "--data_root", str(data_root)]),
        torch.device("cpu"),
    )
    data = datasets[options.dataset].load(data_request(options))
    spec, generators = data.spec, make_generators(run.seed)
    student = new_model(options.model_s, spec, device, generators["weights"])
    weights = torch.load(max(folder.glob("Experiments/*/weights/ckpt.pth")), weights_only=True)
    student.load_state_dict(weights["model"])
    splits = make_batches(data, options, device, generators["data"])
    both = evaluate(student, splits.test)
    student.train()
    steps = 0
    while steps < STEPS:
        for images, *_ in splits.train:
            student(images)
            steps += 1
            if steps == STEPS:
                break
    first = evaluate(student, splits.test)
    row = json.loads((folder / "row.json").read_text())
    assert abs(both.loss - row["s_test_loss"]) < 1e-4 * both.loss, (both.loss, row["s_test_loss"])
    return {
        "setup": run.setup.name, "scheme": run.scheme.name, "seed": run.seed,
        "loss_both": f"{both.loss:.6f}", "loss_first": f"{first.loss:.6f}",
        "acc1_both": f"{both.acc1:.2f}", "acc1_first": f"{first.acc1:.2f}", "commit": row["commit"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--code", type=Path, default=HERE.parents[1])
    parser.add_argument("--data_root", type=Path, default=HERE.parents[1] / "data")
    options = parser.parse_args()
    sys.path.insert(0, str(options.code.resolve()))
    torch.set_num_threads(1)
    rows = {}
    if BATCHNORM.exists():
        with open(BATCHNORM, newline="") as file:
            rows = {(r["setup"], r["scheme"], int(r["seed"])): r for r in csv.DictReader(file)}
    for setup in SETUPS.values():
        for scheme in schemes(setup.img_size):
            for seed in range(1, 6):
                run = Run(setup, scheme, seed)
                folder = options.work / "runs" / run.folder
                name = (setup.name, scheme.name, seed)
                if name not in rows and (folder / "row.json").exists():
                    rows[name] = compare(run, folder, options.data_root)
                    print(rows[name], flush=True)
    write(BATCHNORM, [rows[name] for name in sorted(rows)])


if __name__ == "__main__":
    main()
