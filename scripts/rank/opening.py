"""The scene of a ranking: the T. stddev pass of train_student.py, opened but not carried out."""

import argparse
from typing import Any, NamedTuple

import torch

from dataset import Dataset, DatasetSpec
from dataset.streamed import AnyBatches
from helper import speed
from helper.processes import distributed
from helper.setup import scene as setup
from helper.setup.batches import Splits
from helper.setup.machine import select_device
from helper.setup.networks import Teacher
from scripts.rank.measuring import Networks


class Scene(NamedTuple):
    """What a ranking works on."""

    options: argparse.Namespace
    device: torch.device
    generators: dict[str, torch.Generator]
    spec: DatasetSpec
    data: Dataset
    splits: Splits
    teacher: Teacher
    networks: Networks
    identity: dict[str, Any]
    """What the files are."""

    @property
    def batches(self) -> AnyBatches:
        return self.splits.train


def open_scene(options: argparse.Namespace) -> Scene:
    """Build and check everything; nothing is written. UserError where something is amiss."""
    device = select_device(options.device, options.precision)
    distributed.start(device)
    scene = setup.open_scene(options, device, has_teacher=True)
    prepared = speed.prepare(scene.teacher.network, scene.student, scene.wanted(trains=False))
    networks = Networks(prepared.teacher, prepared.student, options.amp)
    return Scene(
        options,
        device,
        scene.generators,
        scene.spec,
        scene.data,
        scene.splits,
        scene.teacher,
        networks,
        scene.identity(),
    )
