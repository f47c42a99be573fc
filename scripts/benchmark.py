#!/usr/bin/env python3
"""Steps per second, beside those of a classic loop that takes turns with this one.

    python scripts/benchmark.py                  # wrn_40_2/wrn_16_2, cutmix, float32 and --amp
    python scripts/benchmark.py --pairs vgg13/vgg8,resnet56/resnet20 --modes cutmix,cutmix_pick \\
        --jobs train,stddev
    python scripts/benchmark.py --device cuda --variants amp \\
        --at_once 1,2,4,8 --json speed.json

The fast side is train_student.py's own loop with KD and weights [1,0,1];
scripts/bench/classic_loop.py is the other, in a process of its own. The networks' weights are
random: speed does not depend on them. In each round every loop runs --steps steps, one after the
other; ratios are taken within a round, and the table shows their median. BENCHMARKS.md has the
JSON's fields.
"""

import itertools
import json
import platform
import shlex
import sys
import tempfile
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.errors import UserError, one_line_errors

import torch

from helper import speed
from helper.cli.parser import OptionParser, number, one_of
from helper.cli.plugins import load_plugins
from helper.run.atomic import write_result
from models import model_dict
from scripts.bench.fast_loop import JOBS, VARIANTS, Case
from scripts.bench.machine import describe_machine, measure_ceilings
from scripts.bench.measuring import Bench, Row

PROGRAM = "benchmark.py"
MODES = ("identity", "flip", "crop+flip", "cutout", "autoaugment", "mixup", "cutmix", "cutmix_pick")


def print_titles() -> None:
    """The table's head, in Markdown."""
    titles = (
        "pair|mode|job|variant|runs|steps/s|images/s|ratio|peak"
        " MB|data|teacher|student|other|ceiling"
    )
    print(
        "| " + titles.replace("|", " | ") + " |\n" + "|---" * len(titles.split("|")) + "|",
        flush=True,
    )


def print_rows(rows: Iterable[Row]) -> None:
    for row in rows:
        shares = [f"{share:.0%}" for share in row.shares.values()] if row.shares else ["-"] * 4
        cells = [row.pair, row.mode, row.job, row.variant, row.runs_at_once]
        cells += [f"{row.steps_per_second:.2f}", f"{row.images_per_second:.0f}"]
        cells += ["-" if row.ratio is None else f"{row.ratio:.2f}x"]
        cells += ["-" if row.peak_memory_mb is None else f"{row.peak_memory_mb:.0f}"]
        cells += [*shares, f"{row.ceiling_fraction:.0%}"]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def several(kind: str, choices: Iterable[str]) -> Callable[[str], list[str]]:
    """An argparse type: "a,b", names among `choices`."""
    convert = one_of(kind, choices)
    return lambda text: [convert(name) for name in text.split(",")]


def pairs(text: str) -> list[str]:
    """An argparse type: "teacher/student,teacher/student"."""
    convert = one_of("model", model_dict)
    for pair in text.split(","):
        if pair.count("/") != 1:
            raise ArgumentTypeError(f"{pair!r} is not a pair teacher/student")
        for name in pair.split("/"):
            convert(name)
    return text.split(",")


def counts(text: str) -> list[int]:
    return [number(int, 1)(part) for part in text.split(",")]


# fmt: off
def parse(argv: Sequence[str]) -> Namespace:
    load_plugins()
    parser = OptionParser(prog=PROGRAM, description="Steps per second, and the ratio to a classic "
                                                    "loop in the same run.")
    what = parser.section("what is measured")
    what("--pairs", default=["wrn_40_2/wrn_16_2"], type=pairs, metavar="T/S,T/S",
         help="teacher/student (default: wrn_40_2/wrn_16_2)")
    what("--modes", default=["cutmix"], type=several("mix mode", MODES), metavar="A,B",
         help=f"of {', '.join(MODES)} (default: cutmix); cutmix_pick picks by teacher_entropy")
    what("--jobs", default=["train"], type=several("job", JOBS), metavar="A,B",
         help="train: a KD step; stddev: a step of the T. stddev pass (default: train)")
    what("--variants", default=["float32", "amp"], type=several("variant", VARIANTS), metavar="A,B",
         help=f"of {', '.join(VARIANTS)} (default: float32,amp)")
    what("--at_once", default=[1], type=counts, metavar="N,N",
         help="also this many runs at once, each a process of its own (default: 1)")
    what("--no_classic", action="store_true",
         help="without the classic loop: no ratios")
    where = parser.section("where")
    where("--device", default="auto", type=one_of("device", ["auto", "cpu", "cuda"]),
          metavar="NAME",
          help="auto, cpu or cuda (default: auto)")
    where("--threads", type=number(int, 1), metavar="N",
          help="of the CPU (default: PyTorch's own choice)")
    where("--dataset", default="cifar100", type=one_of("data set", ["cifar100", "cifar10",
                                                                    "synthetic"]), metavar="NAME",
          help="cifar100, cifar10 or synthetic (default: cifar100)")
    where("--data_root", default="data", metavar="DIR",
          help="folder of the public files (default: data)")
    how = parser.section("how long, and what is written")
    how("--batch_size", default=64, type=number(int, 1), metavar="N", help="(default: 64)")
    how("--steps", default=5, type=number(int, 1), metavar="N",
        help="of each loop in a round (default: 5)")
    how("--rounds", default=7, type=number(int, 1), metavar="N", help="(default: 7)")
    how("--json", metavar="FILE", help="write all numbers there")
    how("--profile", metavar="DIR", help="write a trace of each row there")
    return parser.parse(argv)
# fmt: on


def main(argv: Sequence[str]) -> None:
    options = parse(argv)
    if options.json and not Path(options.json).absolute().parent.is_dir():
        raise UserError(f"--json {options.json}: there is no such folder")
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        ceilings, machine = measure_ceilings(bench.device), describe_machine(bench.device)
        print(
            f"{machine['device']}, {machine['processor']}, {machine['threads']} threads", end=", "
        )
        print(f"torch {torch.__version__}, batch {options.batch_size}, ", end="")
        print(
            ", ".join(f"ceiling {value:.0f} GFLOP/s in {name}" for name, value in ceilings.items())
        )
        report = {
            "machine": machine,
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "command": shlex.join(["python", "scripts/benchmark.py", *argv]),
            "settings": {
                name: getattr(options, name)
                for name in ("batch_size", "steps", "rounds", "dataset")
            },
            "ceiling_gflops": ceilings,
            "rows": [],
        }
        print_titles()
        for case in map(Case._make, itertools.product(options.pairs, options.modes, options.jobs)):
            rows = bench.measure(case, ceilings)
            print_rows(rows)
            report["rows"] += map(asdict, rows)
            if options.json:  # at once: a later case may fail
                content = json.dumps(report, indent=1, allow_nan=False) + "\n"
                write_result(Path(options.json), content)


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        speed.start()
        main(sys.argv[1:])
