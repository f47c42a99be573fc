"""Every method that compares logits against its formula: value and gradient in float64.

The formulas are written from the papers, from log-probabilities up, without a line of
distiller_zoo. Logits are normal, large, shifted, equal or opposite to the teacher's; K is 10, 100,
200; batches hold 1, 2 or 64 images.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from distiller_zoo import LogitDistiller, Setting, Target, distillers
from helper.step.distill import loss_weights

LOGIT = [name for name in distillers if issubclass(distillers[name], LogitDistiller)]
SHAPES = [(1, 10), (2, 100), (64, 100), (64, 200), (3, 10)]
LOGITS = {
    "normal": lambda s, t: (3 * s, 4 * t),
    "large": lambda s, t: (300 * s, 500 * t),
    "shifted": lambda s, t: (s + 1e4, t - 1e4),
    "confident": lambda s, t: (s, t + 40 * torch.eye(t.shape[1]).double()[: len(t) % 7 + 1].sum(0)),
    "identical": lambda s, t: (3 * t, 3 * t),
    "opposite": lambda s, t: (-4 * t, 4 * t),
}


def log_p(logits, temperature=1.0):
    """(P, K) -> log-probabilities, by the largest logit and a sum of exponentials."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(1, keepdim=True).values.detach()
    return scaled - scaled.exp().sum(1, keepdim=True).log()


def kl(log_q, log_other):
    """KL(q || p) of each row; 0 log 0 is 0."""
    return (log_q.exp() * (log_q - log_other)).sum(1)


def kd(s, t, temperature):
    return temperature**2 * kl(log_p(t, temperature), log_p(s, temperature)).mean()


def without_label(logits, labels):
    rows = [torch.cat([row[:label], row[label + 1 :]]) for row, label in zip(logits, labels)]
    return torch.stack(rows)


def dkd(s, t, labels, alpha, beta, temperature):
    def two(logits):
        own = log_p(logits, temperature)[range(len(labels)), labels]
        others = without_label(log_p(logits, temperature), labels).logsumexp(1)
        return torch.stack([own, others], 1)

    others = (without_label(logits, labels) for logits in (s, t))
    log_s, log_t = (log_p(logits, temperature) for logits in others)
    return (temperature**2 * (alpha * kl(two(t), two(s)) + beta * kl(log_t, log_s))).mean()


def nkd(s, t, labels, gamma, temperature):
    rows = range(len(labels))
    own = -log_p(t)[rows, labels].exp() * log_p(s)[rows, labels]
    log_s, log_t = (log_p(without_label(logits, labels), temperature) for logits in (s, t))
    return (own - gamma * temperature**2 * (log_t.exp() * log_s).sum(1)).mean()


def pearson(a, b):
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (a.norm() * b.norm() + 1e-8)


def dist(s, t, beta, gamma, temperature):
    p, q = log_p(s, temperature).exp(), log_p(t, temperature).exp()
    inter = 1 - torch.stack([pearson(a, b) for a, b in zip(p, q)]).mean()
    intra = 1 - torch.stack([pearson(a, b) for a, b in zip(p.T, q.T)]).mean()
    return temperature**2 * (beta * inter + gamma * intra)


def ttm(s, t, gamma, weighted):
    power = gamma * log_p(t)
    log_u = power.logsumexp(1)
    loss = kl(power - log_u[:, None], log_p(s))
    return (log_u.exp() * loss if weighted else loss).mean()


def standard(logits):
    centred = logits - logits.mean(1, keepdim=True)
    deviation = (centred.square().sum(1, keepdim=True) / (logits.shape[1] - 1)).sqrt()
    return centred / (deviation + 1e-7)


def correlations(s, t, temperature):
    """(of the images, of the classes)"""
    p, q = log_p(s, temperature).exp(), log_p(t, temperature).exp()
    of_images = torch.einsum("ik,jk->ij", p, p) - torch.einsum("ik,jk->ij", q, q)
    of_classes = torch.einsum("ik,il->kl", p, p) - torch.einsum("ik,il->kl", q, q)
    return of_images.square().sum() / len(s), of_classes.square().sum() / s.shape[1]


def share_at_or_below_the_median(values):
    ordered = sorted(values.tolist())
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return sum(value <= middle for value in ordered) / len(ordered)


def mlkd(s, t, first, compare):
    """The bracket's terms on the weak view."""
    m = share_at_or_below_the_median(log_p(t).exp().max(1).values)
    c = share_at_or_below_the_median(log_p(t).exp().sum(0))
    total = sum(compare(s, t, T) for T in (2.0, 6.0))
    for T in (first, 3.0, 5.0, 2.0, 6.0):
        of_images, of_classes = correlations(s, t, T)
        total = total + m * compare(s, t, T) + m * of_images + c * of_classes
    return total


def kd_ls(s, t, temperature):
    return kd(standard(s), standard(t), temperature)


def wsld(s, t, labels, temperature):
    rows = range(len(labels))
    of_student, of_teacher = (-log_p(logits)[rows, labels].detach() for logits in (s, t))
    weight = 1 - (-of_student / (of_teacher + 1e-7)).exp()
    soft = -(log_p(t, temperature).exp() * log_p(s, temperature)).sum(1)
    return (temperature**2 * weight * soft).mean()


FORMULAS = {
    "kd": lambda s, t, y: kd(s, t, 4.0),
    "dkd": lambda s, t, y: dkd(s, t, y, 1.0, 8.0, 4.0),
    "dist": lambda s, t, y: dist(s, t, 2.0, 2.0, 4.0),
    "nkd": lambda s, t, y: nkd(s, t, y, 3.5, 3.0),
    "ttm": lambda s, t, y: ttm(s, t, 0.1, weighted=False),
    "wttm": lambda s, t, y: ttm(s, t, 0.2, weighted=True),
    "mlkd": lambda s, t, y: mlkd(s, t, 4.0, kd),
    "ls": lambda s, t, y: kd_ls(s, t, 2.0),
    "wsld": lambda s, t, y: wsld(s, t, y, 4.0),
    "dkd_ls": lambda s, t, y: dkd(standard(s), standard(t), y, 1.0, 8.0, 2.0),
    "mlkd_ls": lambda s, t, y: mlkd(s, t, 2.0, kd_ls),
}
SECOND_VIEW = {
    "mlkd": lambda s, t, y: sum(kd(s, t, T) for T in (4.0, 3.0, 5.0)),
    "mlkd_ls": lambda s, t, y: sum(kd_ls(s, t, T) for T in (2.0, 3.0, 5.0)),
}


def test_each_method_has_a_formula():
    assert set(FORMULAS) == set(LOGIT), "FORMULAS needs an entry for each method, and no other"


def value_and_gradient(loss, student, *rest):
    student = student.detach().clone().requires_grad_()
    value = loss(student, *rest)
    value.backward()
    return value.detach(), student.grad


def assert_same(method, formula, student, teacher, labels):
    expected, slope = value_and_gradient(formula, student, teacher, labels)
    value, gradient = value_and_gradient(method, student, teacher, Target(labels))
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    tolerance = 1e-9 * float(slope.abs().max()) + 1e-12
    torch.testing.assert_close(gradient, slope, rtol=1e-7, atol=tolerance)


@pytest.mark.parametrize("kind", LOGITS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradient_are_the_formulas(name, shape, kind):
    generator = torch.Generator().manual_seed(math.prod(shape))
    student, teacher = (torch.randn(shape, generator=generator).double() for _ in range(2))
    student, teacher = LOGITS[kind](student, teacher)
    labels = torch.randint(shape[1], shape[:1], generator=generator)
    method = distillers[name](Setting())
    assert_same(method, FORMULAS[name], student, teacher, labels)
    if name in SECOND_VIEW:
        assert_same(method.second_view, SECOND_VIEW[name], student, teacher, labels)


def test_the_total_of_mlkd_is_the_authors():
    """0.1 (CE(x) + CE(x')) + 0.9 (terms on x + terms on x'), by the step's own weights."""
    student, teacher, view_student, view_teacher = (
        torch.randn(8, 10, generator=torch.Generator().manual_seed(seed)).double()
        for seed in range(4)
    )
    labels = torch.arange(8)
    losses = {
        "cls": F.cross_entropy(student, labels),
        "cls-view": F.cross_entropy(view_student, labels),
        "div-ori-mlkd": distillers["mlkd"](Setting())(student, teacher, Target(labels)),
        "div-mix-mlkd": distillers["mlkd"](Setting()).second_view(
            view_student, view_teacher, Target(labels)
        ),
    }
    weights = loss_weights(0.1, {"mlkd": 0.9}, lw_mix=(1.0, 0.0, 1.0))
    own = [-log_p(logits)[range(8), labels].mean() for logits in (student, view_student)]
    expected = 0.1 * sum(own) + 0.9 * (
        mlkd(student, teacher, 4.0, kd) + SECOND_VIEW["mlkd"](view_student, view_teacher, labels)
    )
    torch.testing.assert_close(weights.total(losses), expected)
