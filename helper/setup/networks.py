"""Teacher and student: built, filled from files, placed on the device."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from dataset import DatasetSpec
from helper import speed
from helper.cli.parser import Options
from helper.processes.sync_batchnorm import share_batchnorm
from helper.run.checkpoint import (
    check_class_names,
    describe_model,
    load_weights,
    model_name_of,
    read_checkpoint,
)
from helper.run.recorded import recorded_accuracy
from helper.step.networks import freeze
from models import build_model, model_dict


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


def load_teacher(options: Options, spec: DatasetSpec, device: torch.device) -> Teacher:
    """The teacher that the options name. UserError if the file is not that network."""
    flag = "--model_t_pretrained" if options.model_t_pretrained else "--path_t"
    checkpoint = read_checkpoint(flag, options.path_t)
    name = options.model_t or model_name_of(flag, options.path_t, checkpoint)
    check_class_names(checkpoint, spec.class_names, flag=flag, path=options.path_t)
    model = model_dict[name](num_classes=spec.num_classes, img_size=spec.img_size)
    load_weights(model, name, checkpoint, flag=flag, path=options.path_t)
    trained_on = {key: checkpoint[key] for key in ("dataset", "img_size") if key in checkpoint}
    network = speed.place(freeze(model), device, spec.img_size)
    return Teacher(
        name, network, checksum_of(options.path_t), recorded_accuracy(checkpoint), trained_on
    )


def checksum_of(path: str) -> str:
    """The first digits of a file's SHA-256."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


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
    return speed.place(model, device, spec.img_size)


def make_student(
    options: Options, spec: DatasetSpec, device: torch.device, generator: torch.Generator
) -> nn.Module | None:
    """The student, from its weights file if one is given; None in a T. stddev pass that needs none."""
    if options.fix_student and not options.facts.needs_student:
        return None
    student = new_model(options.model_s, spec, device, generator)
    if options.sync_bn:
        share_batchnorm(student)
    if given := options.facts.student_weights:
        flag, path = given
        checkpoint = read_checkpoint(flag, path)
        check_class_names(checkpoint, spec.class_names, flag=flag, path=path)
        load_weights(student, options.model_s, checkpoint, flag=flag, path=path)
    return freeze(student) if options.fix_student else student
