"""From options to objects: device, generators, batches, networks, second view. The options stop here."""

import argparse
import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from augment import Augmentation, MixSettings, Pick, build, parse, pick_criteria, picks, with_flags
from dataset import Dataset, DatasetSpec, ImageFiles
from dataset.batches import Batches, DefaultDA
from dataset.dev_split import dev_split
from dataset.streamed import AnyBatches, StreamedBatches
from helper.cli.options import (
    checks_of,
    needs_student,
    schedule_bounds,
    student_weights,
    weight_decay_schedule,
)
from helper.cli.schedule import learning_rate
from helper.errors import UserError
from helper.loop.initial_stage import InitialStage
from helper.loop.measure import TeacherProbe
from helper.loop.metrics import Evaluation
from helper.loop.teacher_check import check_accuracy, recorded_accuracy
from helper.loop.training import LoopSettings
from helper.processes import distributed
from helper.processes.sync_batchnorm import share_batchnorm
from helper.run.checkpoint import (
    check_class_names,
    describe_model,
    load_weights,
    model_name_of,
    read_checkpoint,
)
from helper.setup.methods import Methods
from helper.speed.both_views import KEPT_AT_MOST, BothViews, kept_per_image
from helper.speed.frozen import frozen_copy
from helper.speed.layout import to_device
from helper.speed.sgd import SGD
from helper.step.distill import ViewMaker
from helper.step.networks import freeze
from helper.step.teacher_stats import CovarianceMeans, CrossEntropyCovariance, TeacherStddev
from models import build_model, model_dict

EVALUATION_BATCH = {"cpu": 100, "cuda": 2000}
"""Of 32x32 pixels. A processor is fastest with what its cache holds, a GPU with a lot."""
STREAMED_EVALUATION_BATCH = 100


def select_device(name: str, precision: str = "default") -> torch.device:
    """auto: the GPU if there is one; its convolutions are made deterministic, its float32 as precise as asked for.

    UserError if a GPU is asked for where none is.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no GPU here. Choices: auto, cpu")
    if name == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        if "LOCAL_RANK" in os.environ:  # one of several processes on this machine: each its own
            name = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
            torch.cuda.set_device(name)
        torch.backends.cudnn.allow_tf32 = precision != "highest"
        torch.set_float32_matmul_precision("highest" if precision == "default" else precision)
    return torch.device(name)


def make_generators(seed: int) -> dict[str, torch.Generator]:
    """Independent CPU generators, all from one seed.

    The data have their own, so runs that differ in the second view see the same batches.
    """
    names = ("weights", "data", "views", "methods")
    states = np.random.SeedSequence(seed).generate_state(len(names), dtype=np.uint64)
    return {
        name: torch.Generator().manual_seed(int(state >> 1)) for name, state in zip(names, states)
    }


def evaluation_batch_of(spec: DatasetSpec, device: torch.device) -> int:
    """As many images as have the pixels of `EVALUATION_BATCH`; on a CPU 100 of any size."""
    most = EVALUATION_BATCH[device.type]
    return max(100, min(most, most * 32**2 // spec.img_size**2))


class Splits(NamedTuple):
    """Batches of each split: the training ones shuffled, with the default DA."""

    train: AnyBatches
    test: AnyBatches
    dev: AnyBatches | None
    """What --dev_split holds out of the training set."""


def make_batches(
    data: Dataset, options: argparse.Namespace, device: torch.device, generator: torch.Generator
) -> Splits:
    if data.test is None and not options.dev_split:
        raise UserError(
            f"--data_root {options.data_root} holds no val/ or test/ to measure accuracy on: --dev_split 0.1 takes a "
            "tenth of the training images for it"
        )
    streams = isinstance(data.train, ImageFiles)
    make = (
        partial(StreamedBatches, num_workers=options.num_workers, sharing=distributed)
        if streams
        else Batches
    )
    crop, flip = (digit == "1" for digit in options.use_DA)
    evaluation_batch = (
        STREAMED_EVALUATION_BATCH if streams else evaluation_batch_of(data.spec, device)
    )
    images = data.train.to(device)  # once, for both parts of it
    train_rows, dev_rows = (
        dev_split(data.train.labels, options.dev_split) if options.dev_split else (None, None)
    )
    train = make(
        images,
        data.spec,
        options.batch_size,
        device=device,
        generator=generator,
        default_da=DefaultDA(crop, flip),
        rows=train_rows,
    )
    evaluated = partial(make, spec=data.spec, batch_size=evaluation_batch, device=device)
    if data.test is None:  # what is held out takes its place
        return Splits(train, evaluated(images, rows=dev_rows[: options.limit_test]), None)
    dev = None if dev_rows is None else evaluated(images, rows=dev_rows)
    return Splits(train, evaluated(data.test), dev)


def make_augmentation(options: argparse.Namespace, spec: DatasetSpec) -> Augmentation | None:
    """What --mix_mode names, or None where none is given."""
    if not options.mix_mode:
        return None
    ceiling, floor = schedule_bounds(options)
    settings = MixSettings(draw=options.mix_draw, ceiling=ceiling.at, floor=floor.at)
    return build(with_flags(parse(options.mix_mode), vars(options)), spec, settings)


def make_pick(options: argparse.Namespace) -> Pick | None:
    if not picks(options.mix_mode):
        return None
    return Pick(pick_criteria[options.cutmix_pick_criterion], options.n_pick, options.kd_T)


def make_views(
    options: argparse.Namespace,
    spec: DatasetSpec,
    teacher: nn.Module,
    student: nn.Module | None,
    generator: torch.Generator,
    preacts: Sequence[bool] = (),
) -> ViewMaker:
    """The second view as --mix_mode says, where --lw_mix asks for one. `preacts`: the features that are wanted."""
    wanted = options.lw_mix is not None
    if not preacts:
        teacher = frozen_copy(teacher, spec.img_size, amp=options.amp)
    if student is not None and options.fix_student:
        student = frozen_copy(student, spec.img_size, amp=options.amp)
    features_of_view = bool(preacts) and options.feature_views == "both"
    return ViewMaker(
        teacher,
        make_augmentation(options, spec) if wanted else None,
        generator,
        pick=make_pick(options) if wanted else None,
        student=student,
        teacher_sees_view=(
            options.t_output_as_target_for_input_mix or bool(checks_of(options)) or features_of_view
        ),
        preacts=preacts,
        features_of_view=features_of_view,
        amp=options.amp,
        own_rows_only=own_rows_only(options),
    )


def make_probe(
    options: argparse.Namespace, batches: AnyBatches, spec: DatasetSpec, student: nn.Module | None
) -> TeacherProbe | None:
    """The statistics of the teacher that are asked for; None if there are none."""
    checks, device = checks_of(options), batches.device
    if not checks:
        return None
    stddev = TeacherStddev(spec.num_classes, device, is_divided=own_rows_only(options))
    return TeacherProbe(
        len(batches),
        stddev=stddev if "v1" in checks else None,
        covariance=CovarianceMeans(device) if "v2" in checks else None,
        cross_entropy=CrossEntropyCovariance() if "v3" in checks else None,
        student=student,
        amp=options.amp,
    )


def own_rows_only(options: argparse.Namespace) -> bool:
    """Whether each of several processes can keep to its rows: a T. stddev pass, but for picks and the covariances."""
    return options.fix_student and checks_of(options) == {"v1"} and make_pick(options) is None


class Teacher(NamedTuple):
    """A teacher from a file: its model's name, and the network in eval mode and frozen."""

    name: str
    network: nn.Module
    checksum: str
    """The first digits of the file's SHA-256."""
    accuracy: float | None
    """Top-1 in percent that the checkpoint records."""
    trained_on: dict[str, Any]
    """What the checkpoint says of its data set; public ones say nothing."""


def load_teacher(options: argparse.Namespace, spec: DatasetSpec, device: torch.device) -> Teacher:
    """The teacher that the options name. UserError if the file is not that network."""
    flag = "--model_t_pretrained" if options.model_t_pretrained else "--path_t"
    checkpoint = read_checkpoint(flag, options.path_t)
    name = options.model_t or model_name_of(flag, options.path_t, checkpoint)
    check_class_names(checkpoint, spec.class_names, flag=flag, path=options.path_t)
    model = model_dict[name](num_classes=spec.num_classes, img_size=spec.img_size)
    load_weights(model, name, checkpoint, flag=flag, path=options.path_t)
    trained_on = {key: checkpoint[key] for key in ("dataset", "img_size") if key in checkpoint}
    network = to_device(freeze(model), device, spec.img_size)
    return Teacher(
        name, network, checksum_of(options.path_t), recorded_accuracy(checkpoint), trained_on
    )


def checksum_of(path: str) -> str:
    """The first digits of a file's SHA-256."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def identify(options: argparse.Namespace, teacher: Teacher, data: Dataset) -> dict[str, Any]:
    """What the files of a student's run are. A resumed run must have the same."""
    found = {"model_t": teacher.name, "teacher_checksum": teacher.checksum}
    given = student_weights(options)
    if options.fix_student and needs_student(options) and given:
        found["student_checksum"] = checksum_of(given[1])
    return found | identify_data(options, data)


def identify_data(options: argparse.Namespace, data: Dataset) -> dict[str, Any]:
    """Nothing in a dry run, which may have nothing but a stand-in for data that are yet to be decoded."""
    return {} if options.dry_run else {"data_fingerprint": data.fingerprint()}


def test_teacher(options: argparse.Namespace, teacher: Teacher, test: AnyBatches) -> Evaluation:
    """UserError if it is far worse than its checkpoint says."""
    flag = f"--test_teacher {options.path_t}"
    return check_accuracy(teacher.network, teacher.accuracy, test, amp=options.amp, flag=flag)


def describe(name: str, spec: DatasetSpec) -> dict[str, Any]:
    """What a checkpoint says of a network for this data set."""
    return describe_model(name, spec.num_classes, spec.img_size, spec.name, spec.class_names)


def new_model(
    name: str, spec: DatasetSpec, device: torch.device, generator: torch.Generator
) -> nn.Module:
    """A zoo model for this data set, its weights drawn from the generator."""
    model = build_model(
        name, num_classes=spec.num_classes, img_size=spec.img_size, generator=generator
    )
    return to_device(model, device, spec.img_size)


def make_student(
    options: argparse.Namespace, spec: DatasetSpec, device: torch.device, generator: torch.Generator
) -> nn.Module | None:
    """The student, from its weights file if one is given; None in a T. stddev pass that needs none."""
    if options.fix_student and not needs_student(options):
        return None
    student = new_model(options.model_s, spec, device, generator)
    if options.sync_bn:
        share_batchnorm(student)
    if given := student_weights(options):
        flag, path = given
        checkpoint = read_checkpoint(flag, path)
        check_class_names(checkpoint, spec.class_names, flag=flag, path=path)
        load_weights(student, options.model_s, checkpoint, flag=flag, path=path)
    return freeze(student) if options.fix_student else student


def make_initial_stage(
    options: argparse.Namespace, methods: Methods, teacher: nn.Module, student: nn.Module
) -> InitialStage | None:
    """The stage before the distillation proper, where a method has one."""
    if not methods.with_initial_stage or not options.init_epochs:
        return None
    return InitialStage(
        methods.with_initial_stage,
        teacher,
        student,
        epochs=options.init_epochs,
        learning_rate=options.learning_rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        amp=options.amp,
    )


class StudentPasses(NamedTuple):
    """How the student sees two views: `DistillStep` says what they mean."""

    in_turn: bool = False
    gradients: Mapping[nn.Parameter, torch.Tensor] = MappingProxyType({})
    both_views: BothViews | None = None


def student_passes(
    options: argparse.Namespace,
    student: nn.Module,
    methods: Methods,
    spec: DatasetSpec,
    device: torch.device,
) -> StudentPasses:
    """On a CPU in turn if they would take much memory, else at once where possible. After it was compiled, if it is."""
    if options.lw_mix is None or device.type != "cpu" or distributed.size() > 1:
        return StudentPasses()
    if kept_per_image(student, spec.img_size, amp=options.amp) * options.batch_size > KEPT_AT_MOST:
        has_all = methods.head is None  # with another head the student's own has no gradient
        gradients = {p: torch.zeros_like(p) for p in student.parameters()} if has_all else {}
        return StudentPasses(in_turn=True, gradients=gradients)
    can_both = not methods.preacts and BothViews.suits(student)
    return StudentPasses(both_views=BothViews(student) if can_both else None)


def make_optimizer(options: argparse.Namespace, *trained: nn.Module) -> SGD:
    """SGD with momentum; weight decay on every parameter, as published. On a GPU one kernel updates them all."""
    parameters = [parameter for model in trained for parameter in model.parameters()]
    return SGD(
        parameters,
        lr=options.learning_rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        fused=True if parameters[0].is_cuda else None,  # on a CPU it is no faster
    )


def loop_settings(options: argparse.Namespace) -> LoopSettings:
    return LoopSettings(
        epochs=options.epochs,
        learning_rate=lambda epoch: learning_rate(
            epoch, options.learning_rate, options.lr_decay_epochs, options.lr_decay_rate
        ),
        weight_decay=weight_decay_schedule(options).at,
        print_interval=options.print_interval,
        tb_freq=options.tb_freq,
        save_freq=options.save_freq,
        amp=options.amp,
    )
