"""A scene around two networks, without files."""

from types import SimpleNamespace

import torch

from helper.setup.scene import Scene


def scene_of(options, *, teacher, student, spec, labels, generator, names=("", "")):
    """labels: (N,) of the training set. generator: for the methods. names: teacher's and student's
    model."""
    return Scene(
        options,
        torch.device("cpu"),
        {"methods": generator},
        spec,
        data=None,
        splits=SimpleNamespace(train=SimpleNamespace(served_labels=labels)),
        teacher_or_none=SimpleNamespace(name=names[0], network=teacher),
        student_or_none=student,
        student_name=names[1],
    )
