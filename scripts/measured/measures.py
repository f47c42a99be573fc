#!/usr/bin/env python3
"""Measure the second views by the teacher alone: T. stddev and the candidates for a guard.

    python scripts/measured/measures.py --work runs --setup embedded_wrn_16_1

All schemes of a setup see the same batches. T, R, MI and B are those of helper/step/view_stats.py,
with 95 % intervals; V, A and S stand here. The rows go to measures.csv; a scheme that has its row
is skipped.
"""

import argparse
import csv
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import datasets
from helper.cli.options import data_request, parse_student
from helper.setup.batches import make_batches
from helper.setup.machine import make_generators, select_device
from helper.setup.networks import load_teacher, make_student
from helper.setup.views import make_views
from helper.step.view_stats import ViewStatistics
from scripts.measured.plan import SETUPS, Run, schemes
from scripts.measured.students import HERE, commit, write

MEASURES = HERE / "measures.csv"
NAMES = {"T": "t_stddev", "T_share": "t_share", "R": "consistency", "MI": "information",
         "MI_share": "information_share", "B": "balance"}  # fmt: skip


class Shift:
    """S: mean KL(normal(batch statistics) to normal(running statistics)) of BatchNorm channels."""

    def __init__(self, network: nn.Module) -> None:
        self.values: list[float] = []
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_pre_hook(self.see)

    def see(self, layer: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        mean, variance = inputs[0].mean(dim=(0, 2, 3)), inputs[0].var(dim=(0, 2, 3))
        assert layer.running_mean is not None and layer.running_var is not None
        ratio = (variance + layer.eps) / (layer.running_var + layer.eps)
        apart = (mean - layer.running_mean).square() / (layer.running_var + layer.eps)
        self.values.append(float(((ratio - 1 - ratio.log()) / 2 + apart / 2).mean()))

    def of(self, network: nn.Module, images: torch.Tensor) -> float:
        self.values.clear()
        network(images)
        return sum(self.values) / len(self.values)


class Spread:
    """Sums for V, of one view: sum_k Var p_k over the rows."""

    def __init__(self) -> None:
        self.rows, self.sum, self.squares = 0, torch.zeros(()), 0.0

    def update(self, p: torch.Tensor) -> None:
        self.rows += len(p)
        self.sum = self.sum + p.sum(dim=0)
        self.squares += float(p.square().sum())

    def value(self) -> float:
        return self.squares / self.rows - float((self.sum / self.rows).square().sum())


@torch.no_grad()
def measure(run: Run, steps: int, flags: list[str], teacher: Path, student: Path | None) -> dict:
    """One scheme's measures, by the product's own batches, views and networks.

    flags: where the data and the device are.
    """
    words = [*run.words, "--path_t", str(teacher), *flags]
    words += ["--finetune_student", str(student)] if student else []
    words += ["--fix_student", "--utils.ON", "--utils.check_ce_var"]
    options = parse_student(words)
    device = select_device(options.device, precision="highest")
    generators = make_generators(options.seed)
    data = datasets[options.dataset].load(data_request(options))
    network = load_teacher(options, data.spec, device).network
    batches = make_batches(data, options, device, generators["data"]).train
    scored = make_student(options, data.spec, device, generators["weights"])
    views = make_views(
        options, data.spec, teacher=network, student=scored, generator=generators["views"]
    )
    classes, shift, shifts = data.spec.num_classes, Shift(network), []
    statistics, agreement = ViewStatistics(classes, device), [0.0, 0.0]
    clean, second = Spread(), Spread()
    views.start_epoch(1)
    while statistics.steps < steps:
        for images, labels, _ in batches:
            seen = views(images)
            assert seen.view is not None
            x, v = (z.double().softmax(dim=1) for z in (seen.teacher_clean, seen.view_logits))
            y = F.one_hot(labels, classes).double()
            mixed_y = seen.view.mix(y)
            hits = mixed_y.gather(1, v.argmax(dim=1, keepdim=True))[:, 0]
            statistics.update(x, v, seen.view.mix(x), hits=hits)
            clean.update(x)
            second.update(v)
            agreement[0] += float((x * y).sum(dim=1).mean())
            agreement[1] += float((v * mixed_y).sum(dim=1).mean())
            shifts.append(shift.of(network, seen.view.images))
            if statistics.steps == steps:
                break
    found = {name: statistics.measure(measure) for name, measure in NAMES.items()}
    extra = {"V": second.value() / clean.value(), "A": agreement[1] / agreement[0],
             "S": sum(shifts) / len(shifts),
             "top1": statistics.measure("teacher_top1").value}  # fmt: skip
    return (
        {name: interval.value for name, interval in found.items()} | extra
        | {f"{n}_{end}": getattr(found[n], end) for n in found for end in ("low", "high")}
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data_root", type=Path, default=HERE.parents[1] / "data")
    parser.add_argument("--setup", choices=SETUPS, required=True)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    parser.add_argument("--output", type=Path, default=MEASURES)
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--schemes", nargs="*", default=[], help="only these second views")
    options = parser.parse_args()
    torch.set_num_threads(1)

    setup, rows = SETUPS[options.setup], {}
    if options.output.exists():
        with open(options.output, newline="") as file:
            rows = {(r["setup"], r["scheme"]): r for r in csv.DictReader(file)}
    teacher = (options.work / "teachers" / setup.name / setup.teacher_file).resolve()
    for scheme in schemes(setup):
        run, name, student = Run(setup, scheme, 1), (setup.name, scheme.name), None
        if name in rows or (options.schemes and scheme.name not in options.schemes):
            continue
        if scheme.name == "cutmix_pick:student":
            folder = options.work / "runs" / run.folder
            if not (folder / "row.json").exists():
                continue  # it waits for its student
            student = max(folder.glob("Experiments/*/weights/ckpt.pth")).resolve()
        flags = ["--data_root", str(options.data_root), "--device", options.device]
        found = measure(run, options.steps, flags, teacher, student)
        head = {"setup": setup.name, "teacher": setup.teacher, "family": scheme.family,
                "strength": scheme.strength, "scheme": scheme.name, "seed": 1,
                "steps": options.steps}  # fmt: skip
        rows[name] = head | {k: f"{v:.6g}" for k, v in found.items()}
        rows[name] |= {"commit": commit(HERE)}
        print(
            scheme.name,
            {k: rows[name][k] for k in ("T_share", "R", "MI_share", "B", "V", "A", "S")},
            flush=True,
        )
        write(options.output, list(rows.values()))


if __name__ == "__main__":
    main()
