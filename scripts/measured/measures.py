#!/usr/bin/env python3
"""Measure the second views by the teacher alone: T. stddev and the candidates for a guard.

    python scripts/measured/measures.py --work runs --setup embedded_wrn_16_1 --epochs 8

All schemes see the same batches. The rows go to scripts/measured/measures.csv; a scheme that has a row for this
setup and number of steps is skipped. The formulas are in PREDICTIONS.md.
"""

import argparse
import csv
import math
import sys
from pathlib import Path

import torch
from plan import SETUPS, Run, schemes
from run import HERE, commit, write
from torch import nn

MEASURES = HERE / "measures.csv"


class Sums:
    """The sums over all rows of a pass, in float64, from which the measures follow."""

    def __init__(self, classes: int) -> None:
        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float64)

        self.step_means: list[torch.Tensor] = []
        self.rows = 0
        self.sum = {name: zeros(classes) for name in ("x", "v", "m")}
        self.square = {name: zeros(classes) for name in ("x", "v", "m")}
        self.product = zeros(classes)
        self.entropy = {name: 0.0 for name in ("x", "v")}
        self.clean_rows = 0
        self.label = {name: 0.0 for name in ("x", "v", "top1")}
        self.shift: list[float] = []

    def update(self, x: torch.Tensor, v: torch.Tensor, m: torch.Tensor, y: torch.Tensor) -> None:
        """x: (B, K) probabilities of the images; v, m, y: (P, K) of the views, their images' mixed p and labels."""
        self.step_means.append(torch.cat([x, v]).mean(dim=0))
        self.rows += len(v)
        self.clean_rows += len(x)
        for name, p in (("x", x), ("v", v), ("m", m)):
            self.sum[name] += p.sum(dim=0)
            self.square[name] += p.square().sum(dim=0)
        self.product += (v * m).sum(dim=0)
        for name, p in (("x", x), ("v", v)):
            self.entropy[name] += float(torch.special.entr(p).sum())
        self.label["v"] += float((v * y).sum())
        self.label["top1"] += float(y.gather(1, v.argmax(dim=1, keepdim=True)).sum())

    def variance(self, name: str) -> torch.Tensor:
        n = self.clean_rows if name == "x" else self.rows
        return self.square[name] / n - (self.sum[name] / n).square()

    def measures(self) -> dict[str, float]:
        n, steps = self.rows, len(self.step_means)
        mean_x, mean_v = self.sum["x"] / self.clean_rows, self.sum["v"] / n
        total_x, total_v = (float(torch.special.entr(mean).sum()) for mean in (mean_x, mean_v))
        spread = [float(self.variance(name).clamp(min=0).sum()) for name in ("x", "v", "m")]
        covariance = float((self.product / n - mean_v * self.sum["m"] / n).sum())
        deviation = torch.stack(self.step_means).std(dim=0).mean() / math.sqrt(5) / c4(steps)
        constant = spread[1] < 1e-12 or spread[2] < 1e-12
        information = total_v - self.entropy["v"] / n
        return {
            "T": float(deviation),
            "R": 0.0 if constant else covariance / math.sqrt(spread[1] * spread[2]),
            "MI": information,
            "MI_share": information / (total_x - self.entropy["x"] / self.clean_rows),
            "B": total_v / total_x,
            "V": spread[1] / spread[0],
            "A": self.label["v"] / n / (self.label["x"] / self.clean_rows),
            "S": sum(self.shift) / len(self.shift),
            "top1": self.label["top1"] / n,
        }


def c4(n: int) -> float:
    """The expected standard deviation of n normal draws of deviation 1."""
    return math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))


class Shift:
    """Mean over BatchNorm layers and channels of KL(normal(batch statistics) to normal(running statistics))."""

    def __init__(self, network: nn.Module) -> None:
        self.values: list[float] = []
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_pre_hook(self.see)

    def see(self, layer: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        mean, variance = inputs[0].mean(dim=(0, 2, 3)), inputs[0].var(dim=(0, 2, 3))
        ratio = (variance + layer.eps) / (layer.running_var + layer.eps)
        apart = (mean - layer.running_mean).square() / (layer.running_var + layer.eps)
        self.values.append(float(((ratio - 1 - ratio.log()) / 2 + apart / 2).mean()))


@torch.no_grad()
def measure(run: Run, arguments: argparse.Namespace) -> dict[str, object]:
    """One scheme's row, by the product's own batches, views and networks."""
    from dataset import datasets
    from helper.cli.options import data_request, parse_student
    from helper.setup import scene as build

    teacher_file = arguments.work / "teachers" / run.setup.name / run.setup.teacher_file
    words = [*run.words, "--path_t", str(teacher_file), "--data_root", str(arguments.data_root)]
    student_file = student_of(run, arguments.work)
    if student_file:
        words += ["--finetune_student", str(student_file)]
    options, device = parse_student(words), torch.device("cpu")
    options.fix_student = True
    options.__dict__["utils.check_ce_var"] = True
    generators = build.make_generators(options.seed)
    data = datasets[options.dataset].load(data_request(options))
    teacher = build.load_teacher(options, data.spec, device).network
    batches = build.make_batches(data, options, device, generators["data"]).train
    student = build.make_student(options, data.spec, device, generators["weights"])
    views = build.make_views(options, data.spec, teacher, student, generators["views"])
    sums, shift, steps = Sums(data.spec.num_classes), Shift(teacher), 0
    for epoch in range(1, 10**6):
        views.start_epoch(epoch)
        for images, labels, _ in batches:
            seen = views(images)
            shift.values.clear()
            teacher(seen.view.images)
            sums.shift.append(sum(shift.values) / len(shift.values))
            x = seen.teacher_clean.double().softmax(dim=1)
            y = torch.nn.functional.one_hot(labels, data.spec.num_classes).double()
            sums.label["x"] += float((x * y).sum())
            v = seen.teacher_view.double().softmax(dim=1)
            sums.update(x, v, seen.view.mix(x), seen.view.mix(y))
            steps += 1
            if steps == arguments.steps:
                return {"steps": steps, **{k: f"{m:.6g}" for k, m in sums.measures().items()}}
    raise AssertionError


def student_of(run: Run, work: Path) -> Path | None:
    """The student that a pick by student_entropy looks at: seed 1's."""
    if run.scheme.name != "cutmix_pick:student":
        return None
    found = sorted((work / "runs" / run.folder).glob("row.json"))
    return max(found[0].parent.glob("Experiments/*/weights/ckpt.pth")) if found else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--code", type=Path, default=HERE.parents[1])
    parser.add_argument("--data_root", type=Path, default=HERE.parents[1] / "data")
    parser.add_argument("--setup", choices=SETUPS, required=True)
    parser.add_argument("--steps", type=int, default=96)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.work, arguments.data_root = arguments.work.resolve(), arguments.data_root.resolve()
    sys.path.insert(0, str(arguments.code.resolve()))
    torch.set_num_threads(1)
    from helper.errors import UserError

    setup, rows = SETUPS[arguments.setup], {}
    if MEASURES.exists():
        with open(MEASURES, newline="") as file:
            rows = {
                (r["setup"], r["scheme"], r["seed"], r["steps"]): r for r in csv.DictReader(file)
            }
    for scheme in schemes(setup.img_size):
        name = (setup.name, scheme.name, str(arguments.seed), str(arguments.steps))
        if name in rows:
            continue
        first = Run(setup, scheme, 1)
        if scheme.name == "cutmix_pick:student" and not student_of(first, arguments.work):
            continue  # it waits for its student
        try:
            found = measure(Run(setup, scheme, arguments.seed), arguments)
        except (UserError, SystemExit) as error:  # a stage that this code does not have yet
            print(f"{scheme.name}: {error}", file=sys.stderr)
            continue
        head = {"setup": setup.name, "teacher": setup.teacher, "family": scheme.family,
                "strength": scheme.strength, "scheme": scheme.name, "seed": arguments.seed}  # fmt: skip
        rows[name] = head | found | {"commit": commit(arguments.code)}
        print({**found, "scheme": scheme.name}, flush=True)
        write(MEASURES, list(rows.values()))


if __name__ == "__main__":
    main()
