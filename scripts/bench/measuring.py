"""The rows of benchmark.py's table: the loops run in turns, or several runs at once."""

import contextlib
import functools
import multiprocessing
import os
import tempfile
import time
from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from helper import speed
from helper.errors import UserError
from helper.setup.machine import select_device
from models.model_info import count_flops
from scripts.bench.classic_loop import ClassicProcess
from scripts.bench.fast_loop import (
    PICK_RUNS,
    Case,
    FastLoop,
    load_data,
    make_fast_loop,
    new_network,
)
from scripts.bench.machine import timed_with_peak

WARM_UP_STEPS = 3


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
    """The sum over all runs."""
    images_per_second: float
    """Training images; each is seen in two views."""
    ratio: float | None
    """How often as many steps as one classic loop: the median over the rounds. None with
    --no_classic."""
    ratios: tuple[float, ...]
    peak_memory_mb: float | None
    """Resident set of the process, all variants' networks included, or, on a GPU, allocated by
    PyTorch."""
    shares: dict[str, float] | None
    """Shares of the time: data, teacher, student (forward and backward), other (augmentation,
    losses, optimizer)."""
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
        """FLOPs of a batch: the teacher forward on each view; the student, twice that backward."""
        teacher, student = (
            count_flops(new_network(name, self.spec, seed=0), self.spec.img_size)
            for name in case.pair.split("/")
        )
        views = 1 + (PICK_RUNS if case.mode == "cutmix_pick" else 1)
        trained = 0 if case.job == "stddev" else 2 * 3 * student
        return self.options.batch_size * (views * teacher + trained)

    def measure(self, case: Case, ceilings: dict[str, float]) -> list[Row]:
        """The case's classic loop and the variants, in turns.

        Then several runs at once, where that is asked for.
        """
        loops = {variant: self.fast_loop(case, variant) for variant in self.options.variants}
        seconds, peaks = self.time_in_turns(case, loops)
        rows, steps = [], self.options.steps
        for name, loop in loops.items():
            ratios = [c / f for c, f in zip(seconds.get("classic", ()), seconds[name])]
            rate = steps / median(seconds[name])
            row = self.row(case, name, rate, tuple(ratios), ceilings)
            rows.append(replace(row, peak_memory_mb=peaks[name] or None, shares=loop.shares(steps)))
            if self.options.profile:
                trace = "_".join([*case, name]).replace("/", "-")
                write_trace(loop, Path(self.options.profile), trace)
        if self.options.at_once != [1]:
            classic = [steps / median(seconds["classic"])] if "classic" in seconds else []
            for variant in self.options.variants:
                for count in self.options.at_once:
                    rate = rate_of_several(self.options, case, variant, count)
                    ratios = tuple(rate / each for each in classic)
                    rows.append(self.row(case, variant, rate, ratios, ceilings, runs_at_once=count))
        return rows

    def time_in_turns(
        self, case: Case, loops: dict[str, FastLoop]
    ) -> tuple[dict[str, list[float]], dict[str, float]]:
        """(seconds of each round, the most memory in MB) of every loop, "classic" among them unless
        it is left out.
        """
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
                    run = functools.partial(loop.run, self.options.steps)
                    taken, peak = timed_with_peak(run, self.device)
                    seconds[name].append(taken)
                    peaks[name] = max(peaks[name], peak)
        return seconds, peaks

    def row(
        self,
        case: Case,
        variant: str,
        rate: float,
        ratios: tuple[float, ...],
        ceilings: dict[str, float],
        *,
        runs_at_once: int = 1,
    ) -> Row:
        """A row of the table, from the steps per second."""
        gflops = rate * self.flops_per_step(case) / 1e9
        precision = "bfloat16" if "amp" in variant else "float32"
        return Row(
            **case._asdict(), variant=variant, runs_at_once=runs_at_once, steps_per_second=rate,
            images_per_second=rate * self.options.batch_size,
            ratio=median(ratios) if ratios else None,
            ratios=ratios, peak_memory_mb=None, shares=None, gflops=gflops,
            ceiling_fraction=gflops / ceilings[precision],
        )  # fmt: skip


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


def write_trace(loop: FastLoop, folder: Path, name: str) -> None:
    """<folder>/<name>.json, for chrome://tracing or Perfetto, and <name>.txt with the operations
    that take longest.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    if loop.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        loop.run(WARM_UP_STEPS)
    folder.mkdir(parents=True, exist_ok=True)
    profile.export_chrome_trace(str(folder / f"{name}.json"))
    order = f"self_{loop.device.type}_time_total"
    (folder / f"{name}.txt").write_text(profile.key_averages().table(sort_by=order, row_limit=25))
