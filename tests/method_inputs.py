"""Recorded losses of the original, and inputs of a method as two networks would give them."""

import json

import numpy as np
import pytest
import torch
from places import GOLDEN

from distiller_zoo.base import Batch, Outputs, Setting, Target

RECORDS = json.loads((GOLDEN / "losses.json").read_text())["losses"]
ARRAYS = np.load(GOLDEN / "losses.npz")
ZOO = json.loads((GOLDEN / "models.json").read_text())["models"]
DTYPES = {"f64": torch.float64, "f32": torch.float32}
each_precision = pytest.mark.parametrize("precision", DTYPES)


def normal(seed, *shape):
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape))


def positive(seed, *shape):
    return normal(seed, *shape).clamp(min=0)


def checksum(tensor):
    values = tensor.double().numpy()
    return float((values * np.random.RandomState(99).standard_normal(values.shape)).sum())


def near(value, f64, f32=None, *, precision="f64", absolute=0.0):
    return pytest.approx(value, rel=f64 if precision == "f64" else f32 or f64, abs=absolute)


def shapes_of(name, batch):
    return [torch.Size((batch, *shape[1:])) for shape in ZOO[f"{name}/32"]["feat_shapes"]]


def setting_of(student, teacher, batch=4, **options):
    labels = torch.arange(50) % 5
    shapes = {
        "student_shapes": shapes_of(student, batch),
        "teacher_shapes": shapes_of(teacher, batch),
    }
    return Setting(**shapes, num_classes=5, train_labels=labels, nce_k=16, **options)


def outputs(shapes, seed, *, requires_grad=False):
    """Signed features, as preact and linear bottlenecks have them."""
    features = [normal(seed + index, *shape).float() for index, shape in enumerate(shapes)]
    return Outputs(
        torch.zeros(len(features[0]), 5), [f.requires_grad_(requires_grad) for f in features]
    )


def batch_of(rows, is_clean=True):
    rows = torch.as_tensor(rows)
    return Batch(Target(rows % 5), rows, is_clean)


def loss_of(method, student, teacher, batch):
    """The loss that the method is trained with, its own stage's included."""
    initial = method.initial_loss(student, teacher) if method.has_initial_stage else 0
    return initial + (method(student, teacher, batch) if method.in_main_stage else 0)
