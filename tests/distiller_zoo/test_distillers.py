"""Losses against the recorded ones, against loops in NumPy, and the step's own arithmetic."""

import json

import numpy as np
import pytest
import torch
from places import GOLDEN

from augment import Augmented
from distiller_zoo import Setting, Target
from distiller_zoo.kd import KD, kd_loss
from helper.step.distill import cross_entropy, loss_weights, target_of

LOSSES = json.loads((GOLDEN / "losses.json").read_text())["losses"]
KD_CASES = [name for name in LOSSES if name.startswith("KD_T")]


def normal(seed, shape):
    return np.random.RandomState(seed).standard_normal(shape)


def checksum(tensor):
    values = tensor.double().numpy()
    return float((values * np.random.RandomState(99).standard_normal(values.shape)).sum())


@pytest.mark.parametrize("name", KD_CASES)
@pytest.mark.parametrize("precision, tolerance", [("f64", 1e-9), ("f32", 2e-5)])
def test_kd_value_and_gradient(name, precision, tolerance):
    case = LOSSES[name]
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
    kd, target = KD(Setting(kd_S=2.0, kd_T=3.0)), Target(torch.tensor([0, 1, 2]))
    loss = kd(torch.from_numpy(student), torch.from_numpy(teacher), target)
    assert float(loss) == pytest.approx(2.0**2 * total / 3, rel=1e-12)


def test_kd_gradient_by_finite_differences():
    teacher = torch.from_numpy(normal(2, (3, 5)))
    student = torch.from_numpy(normal(1, (3, 5))).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: kd_loss(s, teacher, kd_S=2.0, kd_T=3.0), student)


def test_perfect_student_has_no_loss():
    logits = torch.from_numpy(normal(1, (6, 10)))
    assert float(kd_loss(logits, logits)) == pytest.approx(0.0, abs=1e-12)


def test_mixed_cross_entropy_is_the_formula():
    logits, labels = normal(5, (4, 6)), [3, 0, 5, 1]
    partner, lam, source = [1, 2, 0, 1], [0.25, 1.0, 0.5, 0.75], [0, 1, 3, 3]
    view = Augmented(
        torch.zeros(4, 3, 2, 2), torch.tensor(partner), torch.tensor(lam), torch.tensor(source)
    )
    expected = 0.0
    for row in range(4):
        log_p = logits[row] - np.log(np.exp(logits[row]).sum())
        own, other = labels[source[row]], labels[partner[row]]
        expected -= (lam[row] * log_p[own] + (1 - lam[row]) * log_p[other]) / 4
    loss = cross_entropy(torch.from_numpy(logits), target_of(view, torch.tensor(labels)))
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def total(weights, **losses):
    named = {name.replace("_", "-"): torch.tensor(value) for name, value in losses.items()}
    return float(weights.total(named))


def test_total_is_the_weighted_sum():
    weights = loss_weights(0.1, {"kd": 0.9}, {"crd": 2.0}, lw_mix=(1.0, 0.5, 3.0))
    terms = {
        "cls": 1.0,
        "div_oriKLD": 2.0,
        "div_mixCE": 3.0,
        "div_mixKLD": 4.0,
        "crd": 5.0,
        "crd_view": 6.0,
    }
    assert total(weights, **terms) == pytest.approx(
        0.1 * 1 + 0.9 * (1 * 2 + 0.5 * 3 + 3 * 4) + 2 * (5 + 6)
    )
    assert total(loss_weights(0.1, {"kd": 0.9}), cls=1.0, div=2.0) == pytest.approx(0.1 + 1.8)


def test_each_logit_distiller_has_an_alpha_and_the_first_one_the_mixed_labels():
    weights = loss_weights(1.0, {"kd": 0.5, "dkd": 2.0}, lw_mix=(1.0, 0.5, 3.0))
    terms = {
        "cls": 1.0,
        "div_oriKLD": 2.0,
        "div_mixKLD": 3.0,
        "div_ori_dkd": 4.0,
        "div_mix_dkd": 5.0,
    }
    expected = 1 + 0.5 * (2 + 3 * 3) + 2 * (4 + 3 * 5)
    assert total(weights, **terms) == pytest.approx(expected)
    assert total(weights, div_mixCE=4.0) == pytest.approx(0.5 * 0.5 * 4)
    plain = loss_weights(1.0, {"kd": 0.5, "dkd": 2.0})
    assert total(plain, cls=1.0, div=2.0, div_dkd=4.0) == pytest.approx(1 + 0.5 * 2 + 2 * 4)
