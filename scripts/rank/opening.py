"""The scene of a ranking: the T. stddev pass of train_student.py, opened but not carried out."""

import argparse
from typing import Any, NamedTuple

import torch

from dataset import Dataset, DatasetSpec, datasets
from dataset.streamed import AnyBatches
from helper.cli.options import data_request
from helper.processes import distributed
from helper.setup import scene as build
from helper.speed.frozen import frozen_copy
from scripts.rank.measuring import Networks


class Scene(NamedTuple):
    """What a ranking works on."""

    options: argparse.Namespace
    device: torch.device
    generators: dict[str, torch.Generator]
    spec: DatasetSpec
    data: Dataset
    splits: build.Splits
    teacher: build.Teacher
    networks: Networks
    identity: dict[str, Any]
    """What the files are."""

    @property
    def batches(self) -> AnyBatches:
        return self.splits.train


def open_scene(options: argparse.Namespace) -> Scene:
    """Build and check everything; nothing is written. UserError where something is amiss."""
    device = build.select_device(options.device, options.precision)
    distributed.start(device)
    options.seed = distributed.agreed(options.seed)
    generators = build.make_generators(options.seed)
    source, request = datasets[options.dataset], data_request(options)
    spec = source.spec(request)
    teacher = build.load_teacher(options, spec, device)
    student = build.make_student(options, spec, device, generators["weights"])
    data = source.load(request)
    splits = build.make_batches(data, options, device, generators["data"])
    networks = Networks(
        frozen_copy(teacher.network, spec.img_size, amp=options.amp),
        None if student is None else frozen_copy(student, spec.img_size, amp=options.amp),
        options.amp,
    )
    identity = build.identify(options, teacher, data)
    return Scene(options, device, generators, spec, data, splits, teacher, networks, identity)
