"""From the options of a command to the objects that it works on: device, data, batches, networks.

The options stop in this room: what works on a scene gets plain values and objects.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from dataset import Dataset, DatasetSpec, datasets
from dataset.streamed import StreamedBatches
from helper import speed
from helper.cli.options import data_request
from helper.cli.parser import Options
from helper.processes import distributed
from helper.processes.sync_batchnorm import share_batchnorm
from helper.setup.batches import Splits, check_smallest_part, make_batches
from helper.setup.machine import make_generators
from helper.setup.networks import (
    Teacher,
    checksum_of,
    load_teacher,
    make_student,
    new_model,
    start_from,
)


@dataclass
class Scene:
    """All that a run works on."""

    options: Options
    device: torch.device
    generators: dict[str, torch.Generator]
    """"weights", "data", "views", "methods": independent, on the CPU, all from --seed."""
    spec: DatasetSpec
    data: Dataset
    splits: Splits
    teacher_or_none: Teacher | None
    """None where a network is trained on labels."""
    student_or_none: nn.Module | None
    """The network that is trained; None in a T. stddev pass that needs no student."""
    student_name: str
    notes: list[str] = field(default_factory=list)
    """Lines for log.txt about the networks' weights."""

    @property
    def teacher(self) -> Teacher:
        """For tasks that have one."""
        assert self.teacher_or_none is not None
        return self.teacher_or_none

    @teacher.setter
    def teacher(self, teacher: Teacher) -> None:
        self.teacher_or_none = teacher

    @property
    def student(self) -> nn.Module:
        """For tasks that train it."""
        assert self.student_or_none is not None
        return self.student_or_none

    @property
    def pair(self) -> str:
        """ "teacher/student": the networks' names."""
        return f"{self.teacher.name}/{self.student_name}"

    def identity(self) -> dict[str, Any]:
        """Identifies the files of this run. A resumed run must have the same.

        A dry run does not identify the data: it may have a stand-in for data that are yet to be
        decoded.
        """
        found, facts = {}, self.options.facts
        if self.teacher_or_none is not None:
            found = {"model_t": self.teacher.name, "teacher_checksum": self.teacher.checksum}
            if self.options.fix_student and facts.needs_student and facts.student_weights:
                found["student_checksum"] = checksum_of(facts.student_weights[1])
        return found | (
            {} if self.options.dry_run else {"data_fingerprint": self.data.fingerprint()}
        )

    def wanted(self, *, preacts: tuple[bool, ...] = (), trains: bool = True) -> speed.Wanted:
        """The requirements for helper/speed. preacts: which features are read."""
        return speed.Wanted(
            self.spec.img_size,
            self.options.batch_size,
            amp=self.options.amp,
            compiles=self.options.compile,
            preacts=preacts,
            is_alone=distributed.size() == 1,
            sees_both_views=trains and self.options.facts.has_view and distributed.size() == 1,
            keeps_view_statistics=getattr(self.options, "bn_views", "both") == "both",
            trains=trains,
            streams=isinstance(self.splits.train, StreamedBatches),
        )


def open_scene(options: Options, device: torch.device, *, has_teacher: bool) -> Scene:
    """Build and check everything; nothing is written. UserError where something is amiss.

    Networks come before data: a download is not cheap.
    """
    options.seed = distributed.agreed(options.seed)
    generators = make_generators(options.seed)
    source, request = datasets[options.dataset], data_request(options)
    spec, notes = source.spec(request), []
    if has_teacher:
        name, teacher = options.model_s, load_teacher(options, spec, device)
        student = make_student(options, spec, device, generators["weights"], notes)
    else:
        name, teacher = options.model, None
        student = new_model(name, spec, device, generators["weights"])
        if path := options.pretrained:
            notes += start_from(student, name, flag="--pretrained", path=path, spec=spec)
        if options.sync_bn:
            share_batchnorm(student)
    data = source.load(request)
    networks = [one for one in (teacher and teacher.network, student) if one is not None]
    splits = make_batches(data, options, device, generators["data"], networks)
    if student is not None and student.training:
        counts = {"count": splits.train.count, "batch_size": options.batch_size}
        counts["n_pick"] = options.n_pick if has_teacher and options.facts.picks else 0
        check_smallest_part(student, name, spec.img_size, **counts)
    return Scene(options, device, generators, spec, data, splits, teacher, student, name, notes)
