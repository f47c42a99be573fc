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
from dataset.streamed import AnyBatches
from helper.cli.options import parse_student
from helper.loop.measure import measure_teacher
from helper.loop.state import RunState
from helper.loop.training import LoopSettings, TrainingState, train_epoch
from helper.run.folder import SilentRunFolder
from helper.setup import scene as build
from helper.setup.methods import make_methods
from helper.speed.compiled import compile_networks
from helper.step.distill import DistillStep, Losses, Step, ViewMaker
from models import build_model

VARIANTS = {"float32": "", "amp": "--amp", "compile": "--compile", "amp+compile": "--amp --compile"}
JOBS = {"train": "", "stddev": "--fix_student --utils.ON --utils.check_ce_var"}
PICK_RUNS = 2


class Case(NamedTuple):
    """What one classic loop stands against."""

    pair: str
    mode: str
    job: str


class Chunk:
    """The next `steps` of an endless stream of batches, in the shape of a loader."""

    def __init__(self, stream: Iterator, steps: int, device: torch.device) -> None:
        self.stream, self.steps, self.device = stream, steps, device

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
        self.device, self.seconds = (
            device,
            dict.fromkeys(("data", "teacher", "student", "other"), 0.0),
        )
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


class TimedStep:
    """A step whose backward passes, which run after each of its parts, count as the student's."""

    def __init__(self, step: Step, clock: Clock) -> None:
        self.step, self.clock = step, clock
        self.weights, self.replicated = step.weights, step.replicated

    def __call__(self, *batch: torch.Tensor) -> Iterator[tuple[Losses, torch.Tensor]]:
        for part in self.step(*batch):
            with self.clock.within("student"):
                yield part


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


@dataclass
class FastLoop:
    """train_student.py's loop on the next batches, built by the same builders."""

    device: torch.device
    views: ViewMaker
    batches: AnyBatches
    step: DistillStep | None
    state: TrainingState | None
    settings: LoopSettings
    options: argparse.Namespace
    spec: DatasetSpec

    def __post_init__(self) -> None:
        self.stream = endless(self.batches)

    def run(self, steps: int, clock: Clock | None = None) -> None:
        chunk = Chunk(
            self.stream if clock is None else timed(self.stream, clock), steps, self.device
        )
        if self.step is not None:
            step = self.step if clock is None else TimedStep(self.step, clock)
            train_epoch(self.state, step, chunk, self.settings, SilentRunFolder(Path()), 1)
            self.state.end_pass()
        else:
            probe = build.make_probe(self.options, chunk, self.spec, None)
            probe.run = SilentRunFolder(Path())
            state = RunState(generators={"data": torch.Generator()})
            measure_teacher(state, self.views, chunk, probe, [probe], epochs=1, label="")
        synchronize(self.device)

    def shares(self, steps: int) -> dict[str, float]:
        """Of the time of `steps` steps, each part's."""
        clock, teacher = Clock(self.device), self.views.teacher
        self.views.teacher = Timed(teacher, clock, "teacher")
        if self.step is None:
            self.run(steps, clock)
            self.views.teacher = teacher
            return clock.shares()
        student, both_views = self.step.student, self.step.both_views
        self.step.student = Timed(student, clock, "student")
        self.step.both_views = both_views and Timed(both_views, clock, "student")
        self.run(steps, clock)
        self.step.student, self.step.both_views, self.views.teacher = student, both_views, teacher
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
    """What train_student.py builds for this case, without a run folder. `common`: options of the data."""
    words = f"{JOBS[case.job]} {VARIANTS[variant]} --model_s {case.pair.split('/')[1]} --mix_mode {case.mode} "
    words += (
        "--lw_mix [1,0,1] --distill kd -r 0.1 -a 0.9 --t_output_as_target_for_input_mix --seed 0 "
    )
    words += f"--dataset {common.dataset} --batch_size {common.batch_size} --device {device.type}"
    if case.mode == "cutmix_pick":
        words += f" --mix_n_run {PICK_RUNS} --cutmix_pick_criterion teacher_entropy"
    options = parse_student(
        [*words.split(), "--data_root", common.data_root, "--path_t", str(path_t)]
    )
    generators, spec = build.make_generators(0), data.spec
    teacher = build.load_teacher(options, spec, device)
    splits = build.make_batches(data, options, device, generators["data"])
    views = build.make_views(options, spec, teacher.network, None, generators["views"])
    settings = build.loop_settings(options)
    if case.job == "stddev":
        if options.compile:
            compile_networks([views.teacher], device)
        return FastLoop(device, views, splits.train, None, None, settings, options, spec)
    student = build.make_student(options, spec, device, generators["weights"])
    methods = make_methods(
        options,
        teacher=teacher.network,
        student=student,
        pair="",
        spec=spec,
        train_labels=splits.train.served_labels,
        device=device,
        generator=generators["methods"],
    )
    if options.compile:
        compile_networks([views.teacher, student], device)
    state = TrainingState(
        model=student,
        optimizer=build.make_optimizer(options, student, methods.modules),
        generators={"data": torch.Generator()},
        description={},
    )
    step = DistillStep(
        views,
        student,
        methods.logit,
        {},
        methods.weights,
        teacher_target=True,
        amp=options.amp,
        **build.student_passes(options, student, methods, spec, device)._asdict(),
    )
    return FastLoop(device, views, splits.train, step, state, settings, options, spec)
