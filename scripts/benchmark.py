#!/usr/bin/env python3
"""How fast a step is: steps per second, and how often as many as a classic loop that runs in turns with it.

    python scripts/benchmark.py                                       # wrn_40_2/wrn_16_2, cutmix, float32 and --amp
    python scripts/benchmark.py --pairs vgg13/vgg8,resnet56/resnet20 --modes cutmix,cutmix_pick --jobs train,stddev
    python scripts/benchmark.py --device cuda --variants amp --at_once 1,2,4,8 --json speed.json

The fast side is train_student.py's own loop with KD and weights [1,0,1]; scripts/classic_loop.py is the other, in a
process of its own. The networks' weights are random: speed does not depend on them. In each round every loop runs
--steps steps, one after the other; ratios are taken within a round, and the table shows their median. BENCHMARKS.md
has the JSON's fields.
"""

import contextlib
import itertools
import json
import multiprocessing
import os
import platform
import shlex
import sys
import tempfile
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.bench.classic_loop import ClassicProcess
from scripts.bench.fast_loop import (
    JOBS,
    PICK_RUNS,
    VARIANTS,
    Case,
    FastLoop,
    load_data,
    make_fast_loop,
    new_network,
    synchronize,
)  # fmt: skip

from helper.cli.parser import OptionParser, number, one_of
from helper.cli.plugins import load_plugins
from helper.errors import UserError, one_line_errors
from helper.run.atomic import write_atomically
from helper.setup.machine import select_device
from helper import speed
from models import model_dict
from models.model_info import count_flops

PROGRAM = "benchmark.py"
MODES = ("identity", "flip", "crop+flip", "cutout", "autoaugment", "mixup", "cutmix", "cutmix_pick")
WARM_UP_STEPS = 3
MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}
MEMORY_STATUS, RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Row:
    """One line of the table, one object of the JSON's "rows"."""

    pair: str
    mode: str
    job: str
    """train: a KD step; stddev: a step of the T. stddev pass."""
    variant: str
    runs_at_once: int
    steps_per_second: float
    """Of all runs together."""
    images_per_second: float
    """Training images; each is seen in two views."""
    ratio: float | None
    """How often as many steps as one classic loop: the median over the rounds. None with --no_classic."""
    ratios: tuple[float, ...]
    peak_memory_mb: float | None
    """Resident set of the process, all variants' networks included, or, on a GPU, allocated by PyTorch."""
    shares: dict[str, float] | None
    """Of the time: data, teacher, student (forward and backward), other (augmentation, losses, optimizer)."""
    gflops: float
    """10^9 a second; convolutions and matrix products alone count."""
    ceiling_fraction: float
    """gflops over the ceiling that was measured in the variant's precision."""


class Bench:
    """The machine, the data, the networks: what all cases share."""

    def __init__(self, options: Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.device, self.data = select_device(options.device), load_data(options)
        self.spec = self.data.spec

    def fast_loop(self, case: Case, variant: str) -> FastLoop:
        name = case.pair.split("/")[0]
        path = self.folder / f"{name}_vanilla" / f"{os.getpid()}.pth"
        path.parent.mkdir(exist_ok=True)
        torch.save({"model": new_network(name, self.spec, seed=0).state_dict()}, path)
        return make_fast_loop(
            case, variant, common=self.options, data=self.data, device=self.device, path_t=path
        )

    def flops_per_step(self, case: Case) -> float:
        """Of a whole batch: the teacher's forward on every view it sees; the student's, and twice that backward."""
        teacher, student = (
            count_flops(new_network(name, self.spec, seed=0), self.spec.img_size)
            for name in case.pair.split("/")
        )
        views = 1 + (PICK_RUNS if case.mode == "cutmix_pick" else 1)
        trained = 0 if case.job == "stddev" else 2 * 3 * student
        return self.options.batch_size * (views * teacher + trained)

    def measure(self, case: Case, ceilings: dict[str, float]) -> list[Row]:
        """The case's classic loop and the variants, in turns."""
        steps, batch_size = self.options.steps, self.options.batch_size
        loops = {variant: self.fast_loop(case, variant) for variant in self.options.variants}
        with contextlib.ExitStack() as stack:
            runners: dict[str, Any] = dict(loops)
            if not self.options.no_classic:
                runners = {"classic": ClassicProcess(self.options, case), **loops}
                stack.callback(runners["classic"].close)
            for loop in runners.values():
                loop.run(WARM_UP_STEPS)
            seconds: dict[str, list[float]] = {name: [] for name in runners}
            peaks = dict.fromkeys(runners, 0.0)
            for _ in range(self.options.rounds):
                for name, loop in runners.items():
                    taken, peak = timed_with_peak(lambda loop=loop: loop.run(steps), self.device)
                    seconds[name].append(taken)
                    peaks[name] = max(peaks[name], peak)
        rows, flops = [], self.flops_per_step(case)
        for name, loop in loops.items():
            rate = steps / median(seconds[name])
            ratios = [c / f for c, f in zip(seconds.get("classic", ()), seconds[name])]
            rows.append(
                Row(
                    **case._asdict(),
                    variant=name,
                    runs_at_once=1,
                    steps_per_second=rate,
                    images_per_second=rate * batch_size,
                    ratio=median(ratios) if ratios else None,
                    ratios=tuple(ratios),
                    peak_memory_mb=peaks[name] or None,
                    shares=loop.shares(steps),
                    gflops=rate * flops / 1e9,
                    ceiling_fraction=rate * flops / 1e9 / ceilings[precision_of(name)],
                )
            )
            if self.options.profile:
                write_trace(
                    loop, Path(self.options.profile), "_".join([*case, name]).replace("/", "-")
                )
        if self.options.at_once != [1]:
            classic_rate = steps / median(seconds["classic"]) if "classic" in seconds else None
            rows += self.measure_at_once(case, classic_rate, ceilings, flops)
        return rows

    def measure_at_once(
        self, case: Case, classic_rate: float | None, ceilings: dict[str, float], flops: float
    ) -> list[Row]:
        """Several processes, each with a run of its own, on the same device."""
        rows = []
        for variant in self.options.variants:
            for count in self.options.at_once:
                rate = rate_of_several(self.options, case, variant, count)
                ratio = None if classic_rate is None else rate / classic_rate
                rows.append(
                    Row(
                        **case._asdict(),
                        variant=variant,
                        runs_at_once=count,
                        steps_per_second=rate,
                        images_per_second=rate * self.options.batch_size,
                        ratio=ratio,
                        ratios=() if ratio is None else (ratio,),
                        peak_memory_mb=None,
                        shares=None,
                        gflops=rate * flops / 1e9,
                        ceiling_fraction=rate * flops / 1e9 / ceilings[precision_of(variant)],
                    )
                )
        return rows


def rate_of_several(options: Namespace, case: Case, variant: str, count: int) -> float:
    """Steps per second of `count` runs together, each a process of its own."""
    context = multiprocessing.get_context("spawn")
    everybody, results = context.Barrier(count), context.Queue()
    arguments = (options, case, variant, count, everybody, results)
    processes = [context.Process(target=run_one_of_several, args=arguments) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise UserError(f"--at_once {count}: a run failed, see above")
    starts, ends = zip(*(results.get() for _ in processes))
    return count * options.steps * options.rounds / (max(ends) - min(starts))


def run_one_of_several(
    options: Namespace, case: Case, variant: str, count: int, everybody: Any, results: Any
) -> None:
    """A process: waits until all are warm, runs, and tells when it began and ended."""
    speed.start()
    torch.set_num_threads(max(1, (options.threads or os.cpu_count() or 1) // count))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        loop = bench.fast_loop(case, variant)
        loop.run(WARM_UP_STEPS)
        everybody.wait()
        start = time.time()
        loop.run(options.steps * options.rounds)
        results.put((start, time.time()))


def timed_with_peak(action: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """(seconds, the most memory in use meanwhile in MB; 0 where the system does not tell)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif RESET_PEAK.exists():
        RESET_PEAK.write_text("5")
    start = time.perf_counter()
    action()
    seconds = time.perf_counter() - start
    if device.type == "cuda":
        return seconds, torch.cuda.max_memory_allocated() / 1e6
    lines = MEMORY_STATUS.read_text().splitlines() if MEMORY_STATUS.exists() else []
    return seconds, next(
        (int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM")), 0.0
    )


def precision_of(variant: str) -> str:
    return "bfloat16" if "amp" in variant else "float32"


def measure_ceilings(device: torch.device) -> dict[str, float]:
    """10^9 FLOPs a second of the best of two large matrix products, by precision.

    A plain one, and a 1x1 convolution: on the CPU two libraries carry them out.
    """
    size, ceilings = MATMUL_SIZE[device.type], {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(2, size, size, device=device).to(dtype)
        pixels = a.t().reshape(1, size, -1, 32).contiguous(memory_format=torch.channels_last)
        kernels = b[:, :, None, None]
        products = (lambda: a @ b, lambda: torch.nn.functional.conv2d(pixels, kernels))  # noqa: B023
        seconds = [
            timed_with_peak(lambda p=p: (p(), synchronize(device)), device)[0] for p in products * 6
        ]
        ceilings[str(dtype).removeprefix("torch.")] = 2 * size**3 / min(seconds) / 1e9
    return ceilings


def write_trace(loop: FastLoop, folder: Path, name: str) -> None:
    """<folder>/<name>.json, for chrome://tracing or Perfetto, and <name>.txt with the operations that take longest."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if loop.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        loop.run(WARM_UP_STEPS)
    folder.mkdir(parents=True, exist_ok=True)
    profile.export_chrome_trace(str(folder / f"{name}.json"))
    order = f"self_{loop.device.type}_time_total"
    (folder / f"{name}.txt").write_text(profile.key_averages().table(sort_by=order, row_limit=25))


def describe_machine(bench: Bench) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    return {
        "device": torch.cuda.get_device_name() if bench.device.type == "cuda" else "cpu",
        "processor": next(
            (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
            platform.machine(),
        ),
        "bfloat16_instructions": [flag for flag in flags if "bf16" in flag],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def print_titles() -> None:
    """Of the table, in Markdown."""
    titles = "pair|mode|job|variant|runs|steps/s|images/s|ratio|peak MB|data|teacher|student|other|ceiling"
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


def several(kind: str, choices: Sequence[str]) -> Callable[[str], list[str]]:
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
    parser = OptionParser(prog=PROGRAM, description="Steps per second, and the ratio to a classic loop in the same run.")
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
    where("--device", default="auto", type=one_of("device", ["auto", "cpu", "cuda"]), metavar="NAME",
          help="auto, cpu or cuda (default: auto)")
    where("--threads", type=number(int, 1), metavar="N",
          help="of the CPU (default: PyTorch's own choice)")
    where("--dataset", default="cifar100", type=one_of("data set", ["cifar100", "cifar10", "synthetic"]), metavar="NAME",
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
        ceilings, machine = measure_ceilings(bench.device), describe_machine(bench)
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
                write_atomically(Path(options.json), content.encode())


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        speed.start()
        main(sys.argv[1:])
