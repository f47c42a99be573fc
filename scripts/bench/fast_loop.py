"""train_student.py's own loop, to be run a few steps at a time: what benchmark.py times."""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from dataset import DataRequest, Dataset, DatasetSpec, datasets
from helper.cli.options import parse_student
from helper.loop.distilling import Distilling
from helper.loop.measuring import Measuring, measure_teacher
from helper.loop.probe import TeacherProbe
from helper.loop.state import RunState
from helper.loop.training import train_epoch
from helper.run.folder import SilentRunFolder
from helper.setup.batches import make_batches
from helper.setup.machine import make_generators
from helper.setup.networks import load_teacher, make_student
from helper.setup.scene import Scene
from helper.setup.statistics import make_statistics
from helper.step.passes import ViewMaker
from models import build_model

VARIANTS = {"float32": "", "amp": "--amp", "compile": "--compile", "amp+compile": "--amp --compile"}
JOBS = {"train": "", "stddev": "--fix_student --utils.ON --utils.check_ce_var"}
PICK_RUNS = 2


class Case(NamedTuple):
    """The counterpart of one classic loop."""

    pair: str
    mode: str
    job: str


class Chunk:
    """The next `steps` of an endless stream of batches, in the shape of a loader."""

    def __init__(self, stream: Iterator, steps: int) -> None:
        self.stream, self.steps = stream, steps

    def __len__(self) -> int:
        return self.steps

    def starting_at(self, step: int) -> Iterator:
        for _ in range(step, self.steps):
            yield next(self.stream)


def load_data(options: argparse.Namespace) -> Dataset:
    return datasets[options.dataset].load(DataRequest(root=Path(options.data_root)))


def new_network(name: str, spec: DatasetSpec, *, seed: int) -> nn.Module:
    size = {"num_classes": spec.num_classes, "img_size": spec.img_size}
    return build_model(name, generator=torch.Generator().manual_seed(seed), **size)


def endless(batches: Iterable) -> Iterator:
    while True:
        yield from batches


class Clock:
    """Seconds spent in each part of a step; on a GPU it waits for the device at every change."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = dict.fromkeys(("data", "teacher", "student", "other"), 0.0)
        self.part, self.since = "other", time.perf_counter()

    def enter(self, part: str) -> str:
        """From here on `part` runs. Returns what ran before."""
        synchronize(self.device)
        now, before = time.perf_counter(), self.part
        self.seconds[before] += now - self.since
        self.part, self.since = part, now
        return before

    @contextlib.contextmanager
    def within(self, part: str) -> Iterator[None]:
        before = self.enter(part)
        try:
            yield
        finally:
            self.enter(before)

    def shares(self) -> dict[str, float]:
        total = sum(self.seconds.values())
        return {part: round(seconds / total, 4) for part, seconds in self.seconds.items()}


class Timed(nn.Module):
    """A network, or what calls one, whose forward passes are timed."""

    def __init__(self, network: Callable[..., Any], clock: Clock, part: str) -> None:
        super().__init__()
        self.network, self.clock, self.part = network, clock, part

    def forward(self, *images: torch.Tensor, **asked: bool) -> Any:
        with self.clock.within(self.part):
            return self.network(*images, **asked)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


@dataclass
class FastLoop:
    """The loop of train_student.py on the next batches: its scene, its task, no run folder."""

    scene: Scene
    task: Distilling | Measuring

    def __post_init__(self) -> None:
        self.stream, self.device = endless(self.scene.splits.train), self.scene.device

    @property
    def views(self) -> ViewMaker:
        return self.task.views if isinstance(self.task, Measuring) else self.task.step.views

    def run(self, steps: int, clock: Clock | None = None) -> None:
        stream = self.stream if clock is None else timed(self.stream, clock)
        chunk: Any = Chunk(stream, steps)  # as Batches, for the loops
        run = SilentRunFolder(Path())
        if isinstance(self.task, Distilling):
            train_epoch(self.task.state, self.task.step, chunk, self.task.settings, run, epoch=1)
            self.task.state.end_pass()
        else:
            statistics = make_statistics(self.scene)
            assert statistics is not None
            probe = TeacherProbe(steps, **statistics._asdict(), run_or_none=run)
            state = RunState(generators={"data": torch.Generator()})
            measure_teacher(state, self.views, chunk, probe, [probe], epochs=1, label="")
        synchronize(self.device)

    def shares(self, steps: int) -> dict[str, float]:
        """The share of each part in the time of `steps` steps.

        "student" is its forward passes alone.
        """
        clock, views, teacher = Clock(self.device), self.views, self.views.teacher
        views.teacher = Timed(teacher, clock, "teacher")
        step = self.task.step if isinstance(self.task, Distilling) else None
        if step is not None:
            passes, step.student = step.student, Timed(step.student, clock, "student")
        self.run(steps, clock)
        views.teacher = teacher
        if step is not None:
            step.student = passes
        return clock.shares()


def timed(stream: Iterator, clock: Clock) -> Iterator:
    while True:
        with clock.within("data"):
            batch = next(stream)
        yield batch


def make_fast_loop(
    case: Case,
    variant: str,
    *,
    common: argparse.Namespace,
    data: Dataset,
    device: torch.device,
    path_t: Path,
) -> FastLoop:
    """The task of train_student.py for this case, without a run folder.

    `common`: options of the data.
    """
    words = (
        f"{JOBS[case.job]} {VARIANTS[variant]} --model_s {case.pair.split('/')[1]} --mix_mode"
        f" {case.mode} "
    )
    words += (
        "--lw_mix [1,0,1] --distill kd -r 0.1 -a 0.9 --t_output_as_target_for_input_mix --seed 0 "
    )
    words += f"--dataset {common.dataset} --batch_size {common.batch_size} --device {device.type}"
    if case.mode == "cutmix_pick":
        words += f" --mix_n_run {PICK_RUNS} --cutmix_pick_criterion teacher_entropy"
    options = parse_student(
        [*words.split(), "--data_root", common.data_root, "--path_t", str(path_t)]
    )
    generators, spec = make_generators(0), data.spec
    teacher = load_teacher(options, spec, device)
    student = make_student(options, spec, device, generators["weights"])
    splits = make_batches(data, options, device, generators["data"])
    scene = Scene(
        options, device, generators, spec, data, splits, teacher, student, options.model_s
    )
    task = Measuring(scene) if options.fix_student else Distilling(scene)
    task.prepare()
    return FastLoop(scene, task)
