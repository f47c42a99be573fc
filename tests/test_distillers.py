"""Losses against the recorded ones, against loops in NumPy, and the step's own arithmetic."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from augment import Augmented
from distiller_zoo import KD, distillers, kd_loss
from helper.engine import LossWeights, mixed_cross_entropy

GOLDEN = json.loads((Path(__file__).parent / "golden" / "losses.json").read_text())["losses"]
KD_CASES = [name for name in GOLDEN if name.startswith("KD_T")]


def normal(seed, shape):
    return np.random.RandomState(seed).standard_normal(shape)


def checksum(tensor):
    values = tensor.double().numpy()
    return float((values * np.random.RandomState(99).standard_normal(values.shape)).sum())


@pytest.mark.parametrize("name", KD_CASES)
@pytest.mark.parametrize("precision, tolerance", [("f64", 1e-9), ("f32", 2e-5)])
def test_kd_value_and_gradient(name, precision, tolerance):
    case = GOLDEN[name]
    rows = 16 if name.endswith("B16") else 64
    dtype = torch.float64 if precision == "f64" else torch.float32
    student = torch.tensor(normal(1, (64, 100))[:rows] * 3, dtype=dtype, requires_grad=True)
    teacher = torch.tensor(normal(2, (64, 100))[:rows] * 5, dtype=dtype)
    loss = kd_loss(student, teacher, kd_S=case["inputs"]["kd_S"], kd_T=case["inputs"]["kd_T"])
    loss.backward()
    expected = case[precision]
    assert loss.shape == ()
    assert float(loss.detach()) == pytest.approx(expected["value"], rel=tolerance)
    assert float(student.grad.norm()) == pytest.approx(expected["grad_norms"][0], rel=tolerance)
    assert checksum(student.grad) == pytest.approx(expected["grad_dots"][0], rel=tolerance * 10)


def test_kd_is_the_formula():
    student, teacher = normal(1, (3, 4)), normal(2, (3, 4))
    total = 0.0
    for s, t in zip(student, teacher):
        p = [np.exp(v / 2) / sum(np.exp(u / 2) for u in s) for v in s]
        q = [np.exp(v / 3) / sum(np.exp(u / 3) for u in t) for v in t]
        total += sum(qk * np.log(qk / pk) for pk, qk in zip(p, q))
    loss = KD(kd_S=2.0, kd_T=3.0)(torch.from_numpy(student), torch.from_numpy(teacher))
    assert float(loss) == pytest.approx(2.0**2 * total / 3, rel=1e-12)


def test_kd_gradient_by_finite_differences():
    teacher = torch.from_numpy(normal(2, (3, 5)))
    student = torch.from_numpy(normal(1, (3, 5))).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: kd_loss(s, teacher, kd_S=2.0, kd_T=3.0), student)


@pytest.mark.parametrize("name", distillers)
def test_perfect_student_has_no_loss(name):
    logits = torch.from_numpy(normal(1, (6, 10)))
    assert float(distillers[name]()(logits, logits)) == pytest.approx(0.0, abs=1e-12)


def test_mixed_cross_entropy_is_the_formula():
    logits, labels = normal(5, (4, 6)), [3, 0, 5, 1]
    partner, lam, source = [1, 2, 0, 1], [0.25, 1.0, 0.5, 0.75], [0, 1, 3, 3]
    view = Augmented(torch.zeros(4, 3, 2, 2), torch.tensor(partner), torch.tensor(lam), torch.tensor(source))
    expected = 0.0
    for row in range(4):
        log_p = logits[row] - np.log(np.exp(logits[row]).sum())
        own, other = labels[source[row]], labels[partner[row]]
        expected -= (lam[row] * log_p[own] + (1 - lam[row]) * log_p[other]) / 4
    loss = mixed_cross_entropy(torch.from_numpy(logits), torch.tensor(labels), view)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_total_is_the_weighted_sum():
    weights = LossWeights(gamma=0.1, alpha=0.9, beta=2.0, lw_mix=(1.0, 0.5, 3.0))
    losses = {"cls": 1.0, "div-oriKLD": 2.0, "div-mixCE": 3.0, "div-mixKLD": 4.0, "feat": 5.0}
    total = weights.total({name: torch.tensor(value) for name, value in losses.items()})
    assert float(total) == pytest.approx(0.1 * 1 + 0.9 * (1 * 2 + 0.5 * 3 + 3 * 4) + 2 * 5)
    plain = LossWeights(gamma=0.1, alpha=0.9).total({"cls": torch.tensor(1.0), "div": torch.tensor(2.0)})
    assert float(plain) == pytest.approx(0.1 + 1.8)
