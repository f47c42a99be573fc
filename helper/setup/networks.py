"""Teacher and student: built, filled from files, placed on the device."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from dataset import DatasetSpec
from helper import speed
from helper.cli.parser import Options
from helper.errors import UserError
from helper.processes.sync_batchnorm import share_batchnorm
from helper.run.checkpoint import check_class_names, describe_model
from helper.run.load import load_weights
from helper.run.read import read_checkpoint
from helper.run.recognize import recognize
from helper.run.recorded import recorded_accuracy
from helper.step.networks import freeze
from models import build_model, model_dict
from models.external import HUB, External, is_external


class Teacher(NamedTuple):
    """A teacher from a file: its model's name, and the network in eval mode and frozen."""

    name: str
    network: nn.Module
    checksum: str
    """The first digits of the file's SHA-256."""
    accuracy: float | None
    """Top-1 in percent that the checkpoint records."""
    trained_on: dict[str, Any]
    """Facts of its data set that the checkpoint holds; public ones hold none."""
    notes: Sequence[str] = ()
    """Lines for log.txt on how the file was read."""


def load_teacher(options: Options, spec: DatasetSpec, device: torch.device) -> Teacher:
    """The teacher that the options name. UserError if the file is not that network."""
    flag = "--model_t_pretrained" if options.model_t_pretrained else "--path_t"
    if options.path_t == HUB and not options.model_t:
        raise UserError(f"{flag} {HUB}: --model_t says which network, such as timm.resnet50")
    checkpoint = read_weights(flag, options.path_t, options.model_t, spec)
    found = None if options.model_t else recognize(flag, options.path_t, checkpoint)
    name = options.model_t if found is None else found.name
    check_class_names(checkpoint, spec.class_names, flag=flag, path=options.path_t)
    model = model_dict[name](num_classes=spec.num_classes, img_size=spec.img_size)
    notes = load_weights(
        model,
        name,
        checkpoint,
        flag=flag,
        path=options.path_t,
        average=options.ema,
        class_ids=spec.class_ids,
    )
    if found is not None and found.is_guess:
        notes.insert(0, f"the teacher is taken for a {name}: {found.why}")
    trained_on = {key: checkpoint[key] for key in ("dataset", "img_size") if key in checkpoint}
    network = speed.place(freeze(model), device, spec.img_size)
    accuracy = recorded_accuracy(checkpoint)
    return Teacher(name, network, checksum_of(options.path_t), accuracy, trained_on, notes)


def read_weights(flag: str, path: str, name: str, spec: DatasetSpec) -> dict[str, Any]:
    """The checkpoint in a file or, where `path` is "hub", the weights of `name` that its library
    has for download.

    UserError if there are none.
    """
    if path != HUB:
        return read_checkpoint(flag, path)
    if not is_external(name):
        raise UserError(
            f"{flag} {HUB}: {name} is no network of timm or torchvision, whose weights are"
            " downloaded; give a file"
        )
    return {"state_dict": External.named(name).hub_weights(spec.img_size)}


def start_from(
    model: nn.Module, name: str, *, flag: str, path: str, spec: DatasetSpec
) -> list[str]:
    """Fill a network that is about to be trained; a classifier of other classes stays its own.

    Returns lines for log.txt.
    """
    return load_weights(
        model, name, read_weights(flag, path, name, spec), flag=flag, path=path, starts=True
    )


def checksum_of(path: str) -> str:
    """The first digits of a file's SHA-256; "hub" has none."""
    if path == HUB:
        return HUB
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def describe(name: str, spec: DatasetSpec) -> dict[str, Any]:
    """The facts of a network for this data set that a checkpoint holds."""
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
    options: Options,
    spec: DatasetSpec,
    device: torch.device,
    generator: torch.Generator,
    notes: list[str] | None = None,
) -> nn.Module | None:
    """The student, from its weights file if one is given; None in a T. stddev pass that needs none.

    `notes`: gets what is to be told of those weights.
    """
    if options.fix_student and not options.facts.needs_student:
        return None
    student = new_model(options.model_s, spec, device, generator)
    if options.sync_bn:
        share_batchnorm(student)
    if given := options.facts.student_weights:
        flag, path = given
        checkpoint = read_weights(flag, path, options.model_s, spec)
        starts = not options.fix_student and flag == "--model_s_pretrained"
        if not starts:
            check_class_names(checkpoint, spec.class_names, flag=flag, path=path)
        told = load_weights(
            student, options.model_s, checkpoint, flag=flag, path=path, starts=starts
        )
        if notes is not None:
            notes += told
    return freeze(student) if options.fix_student else student
