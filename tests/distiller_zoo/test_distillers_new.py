"""The methods after CRD: loops in NumPy, known identities, mixed labels, extreme logits, network
pairs."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from distiller_zoo import dist, dkd, ls, nkd, parse_methods, ttm
from distiller_zoo.base import LogitDistiller, Setting, Target
from distiller_zoo.kd import kd_loss
from distiller_zoo.registry import distillers
from helper.errors import UserError

LOGIT_METHODS = [name for name in distillers if issubclass(distillers[name], LogitDistiller)]
LABELS = torch.tensor([2, 0, 4, 4, 1, 3])


def normal(seed, shape=(6, 5), scale=2.0):
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape) * scale)


STUDENT, TEACHER = normal(1), normal(2, scale=3.0)


def softmax(row, temperature=1.0):
    exps = [math.exp(value / temperature) for value in row]
    return [value / sum(exps) for value in exps]


def kl(q, p):
    return sum(qk * math.log(qk / pk) for qk, pk in zip(q, p))


def without(row, index):
    return [value for k, value in enumerate(row) if k != index]


def rows(function, *columns):
    """Mean over the images of `function(student row, teacher row, ...)`."""
    values = [
        function(s, t, *rest)
        for s, t, *rest in zip(STUDENT.tolist(), TEACHER.tolist(), *columns, strict=True)
    ]
    return sum(values) / len(values)


def close(value, expected, rel=1e-9):
    value, expected = (
        float(torch.as_tensor(number, dtype=torch.float64).detach()) for number in (value, expected)
    )
    assert value == pytest.approx(expected, rel=rel, abs=1e-12)


# The losses by loops


def dkd_by_hand(s, t, label, alpha, beta, temperature):
    p, q = softmax(s, temperature), softmax(t, temperature)
    tckd = kl([q[label], 1 - q[label]], [p[label], 1 - p[label]])
    nckd = kl(softmax(without(t, label), temperature), softmax(without(s, label), temperature))
    return temperature**2 * (alpha * tckd + beta * nckd)


def nkd_by_hand(s, t, label, gamma, temperature):
    p, q = softmax(without(s, label), temperature), softmax(without(t, label), temperature)
    others = -sum(qk * math.log(pk) for qk, pk in zip(q, p))
    return -softmax(t)[label] * math.log(softmax(s)[label]) + gamma * temperature**2 * others


def pearson(a, b, eps):
    a, b = [x - sum(a) / len(a) for x in a], [x - sum(b) / len(b) for x in b]
    norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b)) / (norms + eps)


def standardised(row):
    mean = sum(row) / len(row)
    stddev = math.sqrt(sum((x - mean) ** 2 for x in row) / (len(row) - 1))
    return [(x - mean) / (stddev + 1e-7) for x in row]


def test_dkd_is_the_formula():
    loss = dkd.dkd_loss(STUDENT, TEACHER, LABELS, alpha=0.7, beta=3.0, temperature=2.0)
    assert loss.shape == (6,)
    for value, s, t, label in zip(loss, STUDENT.tolist(), TEACHER.tolist(), LABELS.tolist()):
        close(value, dkd_by_hand(s, t, label, alpha=0.7, beta=3.0, temperature=2.0))


def test_nkd_is_the_formula():
    loss = nkd.nkd_loss(STUDENT, TEACHER, LABELS, gamma=1.3, temperature=2.0)
    assert loss.shape == (6,)
    for value, s, t, label in zip(loss, STUDENT.tolist(), TEACHER.tolist(), LABELS.tolist()):
        close(value, nkd_by_hand(s, t, label, gamma=1.3, temperature=2.0))


def test_dist_is_the_formula():
    p = np.array([softmax(row, 2.0) for row in STUDENT.tolist()])
    q = np.array([softmax(row, 2.0) for row in TEACHER.tolist()])
    inter = 1 - sum(pearson(list(a), list(b), 1e-8) for a, b in zip(p, q)) / 6
    intra = 1 - sum(pearson(list(a), list(b), 1e-8) for a, b in zip(p.T, q.T)) / 5
    loss = dist.dist_loss(STUDENT, TEACHER, beta=0.5, gamma=3.0, temperature=2.0)
    close(loss, 4 * (0.5 * inter + 3.0 * intra))


@pytest.mark.parametrize("weighted", [False, True])
def test_ttm_is_the_formula(weighted):
    def by_hand(s, t):
        powers = [tk**0.3 for tk in softmax(t)]
        divergence = kl([power / sum(powers) for power in powers], softmax(s))
        return sum(powers) * divergence if weighted else divergence

    close(ttm.ttm_loss(STUDENT, TEACHER, gamma=0.3, weighted=weighted), rows(by_hand))


def test_ls_is_the_formula():
    expected = 9 * rows(
        lambda s, t: kl(softmax(standardised(t), 3.0), softmax(standardised(s), 3.0))
    )
    close(ls.ls_loss(STUDENT, TEACHER, temperature=3.0), expected)


def test_dkd_ls_is_dkd_of_standardised_logits():
    def by_hand(s, t, label):
        return dkd_by_hand(standardised(s), standardised(t), label, 1.0, 3.0, 2.0)

    method = ls.DKDLS(Setting(), beta=3.0, T=2.0)
    close(method(STUDENT, TEACHER, Target(LABELS)), rows(by_hand, LABELS.tolist()))


# What is known of them


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kd_is_dkd_with_the_teachers_doubt_as_beta(temperature):
    doubt = 1 - (TEACHER / temperature).softmax(1).gather(1, LABELS[:, None]).squeeze(1)
    loss = dkd.dkd_loss(STUDENT, TEACHER, LABELS, alpha=1.0, beta=doubt, temperature=temperature)
    close(loss.mean(), kd_loss(STUDENT, TEACHER, kd_S=temperature, kd_T=temperature))


def test_cross_entropy_is_nkd_with_the_teachers_doubt_as_gamma():
    p, q = (
        logits.softmax(1).gather(1, LABELS[:, None]).squeeze(1) for logits in (STUDENT, TEACHER)
    )
    loss = (
        nkd.nkd_loss(STUDENT, TEACHER, LABELS, gamma=1 - q, temperature=1.0)
        - (1 - q) * (1 - p).log()
    )
    close(loss.mean(), F.cross_entropy(STUDENT, TEACHER.softmax(1)))


def test_ttm_with_gamma_1_is_kl():
    close(ttm.ttm_loss(STUDENT, TEACHER, gamma=1.0), kd_loss(STUDENT, TEACHER, kd_S=1.0, kd_T=1.0))
    close(
        ttm.ttm_loss(STUDENT, TEACHER, gamma=1.0, weighted=True),
        ttm.ttm_loss(STUDENT, TEACHER, gamma=1.0),
    )


def test_dist_sees_no_affine_change_of_the_probabilities():
    softened = (0.6 * TEACHER.softmax(1) + 0.4 / 5).log()
    assert float(kd_loss(softened, TEACHER, kd_S=1.0, kd_T=1.0)) > 0.1
    assert float(dist.dist_loss(softened, TEACHER, temperature=1.0, eps=0.0)) == pytest.approx(
        0, abs=1e-12
    )


def test_dist_sees_each_of_its_two_relations():
    shuffled = TEACHER[:, [1, 0, 2, 3, 4]]
    assert float(dist.dist_loss(shuffled, TEACHER, gamma=0.0)) > 0.1
    assert float(dist.dist_loss(shuffled, TEACHER, beta=0.0)) > 0.1


def test_ls_sees_no_scale_and_no_shift():
    scale, shift = torch.tensor([[0.1], [2.0], [7.0], [1.0], [0.5], [3.0]]), normal(3, (6, 1))
    loss = ls.ls_loss(STUDENT, TEACHER)
    assert float(ls.ls_loss(STUDENT, scale * TEACHER + shift)) == pytest.approx(
        float(loss), rel=1e-5
    )
    assert float(ls.ls_loss(scale * STUDENT + shift, TEACHER)) == pytest.approx(
        float(loss), rel=1e-5
    )
    assert float(ls.ls_loss(STUDENT, TEACHER.flip(1))) != pytest.approx(float(loss), rel=1e-2)


@pytest.mark.parametrize("name", ["dkd", "dist", "mlkd", "ls", "dkd_ls", "mlkd_ls"])
def test_perfect_student_has_no_loss(name):
    method = distillers[name](Setting())
    tolerance = 1e-4 if name == "dist" else 1e-12  # dist's published eps
    assert float(method(TEACHER, TEACHER, Target(LABELS))) == pytest.approx(0.0, abs=tolerance)
    assert float(method(STUDENT, TEACHER, Target(LABELS))) > 0.1


@pytest.mark.parametrize("name", [n for n in LOGIT_METHODS if n != "wsld"])  # its weight has none
def test_gradient_by_finite_differences(name):
    method = distillers[name](Setting())
    student = STUDENT.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: method(s, TEACHER, Target(LABELS)), student)


@pytest.mark.parametrize("name", LOGIT_METHODS)
@pytest.mark.parametrize("student", ["agrees", "contradicts", "constant"])
def test_extreme_logits_stay_finite(name, student):
    teacher = F.one_hot(LABELS, 5).float() * 2e4 - 1e4
    logits = {"agrees": teacher, "contradicts": -teacher, "constant": torch.full((6, 5), 1e4)}[
        student
    ]
    logits = logits.clone().requires_grad_()
    loss = distillers[name](Setting())(logits, teacher, Target(LABELS.flip(0)))
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOGIT_METHODS)
def test_half_precision_is_computed_in_float32(name):
    student, teacher, method = STUDENT.bfloat16(), TEACHER.bfloat16(), distillers[name](Setting())
    loss = method(student, teacher, Target(LABELS))
    assert loss.dtype == torch.float32 and loss.shape == ()
    assert loss == method(student.float(), teacher.float(), Target(LABELS))
    assert method(STUDENT, TEACHER, Target(LABELS)).dtype == torch.float64


@pytest.mark.parametrize("lam", [torch.tensor(0.3), torch.tensor([0.0, 1.0, 0.25, 0.5, 0.9, 0.1])])
def test_mixed_labels_share_the_loss(lam):
    partner = torch.tensor([1, 3, 0, 2, 1, 2])
    share = lam.double().expand(6).tolist()

    def by_hand(loss):
        return rows(
            lambda s, t, own, other, lam: lam * loss(s, t, own) + (1 - lam) * loss(s, t, other),
            LABELS.tolist(),
            partner.tolist(),
            share,
        )

    target = Target(LABELS, partner, lam.double())
    method = dkd.DKD(Setting(), beta=3.0, T=2.0)
    close(method(STUDENT, TEACHER, target), by_hand(lambda *row: dkd_by_hand(*row, 1.0, 3.0, 2.0)))
    method = nkd.NKD(Setting(), gamma=1.3, T=2.0)
    close(method(STUDENT, TEACHER, target), by_hand(lambda *row: nkd_by_hand(*row, 1.3, 2.0)))


# Their settings


@pytest.mark.parametrize("name", ["dkd", "dkd_ls"])
def test_dkd_ramps_up(name):
    method = distillers[name](Setting(), warmup=20)
    full = method(STUDENT, TEACHER, Target(LABELS))
    for epoch, share in ((1, 0.05), (10, 0.5), (20, 1.0), (240, 1.0)):
        method.start_epoch(epoch)
        close(method(STUDENT, TEACHER, Target(LABELS)), share * full)
    method = distillers[name](Setting(), warmup=0)
    method.start_epoch(1)
    close(method(STUDENT, TEACHER, Target(LABELS)), full)


@pytest.mark.parametrize(
    "name, setting, given, keys, weights",
    [
        ("dkd", {}, {}, "alpha=1,beta=8,T=4,warmup=20", (1, 1)),
        ("dkd", {"pair": "resnet56/resnet20"}, {}, "alpha=1,beta=2,T=4,warmup=20", (1, 1)),
        ("dkd", {"pair": "ResNet50/wrn_16_2"}, {}, "alpha=1,beta=6,T=4,warmup=20", (1, 1)),
        (
            "dkd",
            {"pair": "vgg13/vgg8"},
            {"beta": 3.5, "T": 2},
            "alpha=1,beta=3.5,T=2,warmup=20",
            (1, 1),
        ),
        (
            "dkd",
            {"pair": "resnet34/resnet18", "dataset": "imagenet"},
            {"weight": 3},
            "alpha=1,beta=0.5,T=1,warmup=1",
            (3, 1),
        ),
        (
            "dkd",
            {"pair": "vgg13/vgg8", "dataset": "svhn"},
            {},
            "alpha=1,beta=8,T=4,warmup=20",
            (1, 1),
        ),
        ("dist", {"dataset": "imagenet"}, {"gamma": "1.5"}, "beta=2,gamma=1.5,T=1", (1, 1)),
        ("nkd", {}, {"gamma": 1.5}, "gamma=1.5,T=3", (1, 1)),
        ("nkd", {"dataset": "imagenet"}, {}, "gamma=1.5,T=1", (1, 1)),
        ("ttm", {"pair": "vgg13/vgg8"}, {}, "gamma=0.1", (45, 1)),
        ("wttm", {}, {}, "gamma=0.2", (4, 1)),
        ("mlkd", {}, {}, "T=4", (0.9, 0.1)),
        ("ls", {}, {}, "T=2", (9, 0.1)),
        ("ls", {"pair": "ResNet50/MobileNetV2"}, {}, "T=3", (1, 0.1)),
        ("ls", {"pair": "resnet110/resnet20"}, {}, "T=4", (12, 0.1)),
        ("dkd_ls", {"pair": "wrn_40_2/wrn_16_2"}, {}, "alpha=1,beta=2,T=2,warmup=20", (12, 1)),
        ("mlkd_ls", {}, {}, "T=2", (9, 0.1)),
        ("mlkd_ls", {"pair": "vgg13/vgg8"}, {}, "T=2", (6, 0.1)),
        ("kd", {"kd_T": 2.0, "kd_S": 3.0}, {}, "T=2,S=3", (0.9, 1)),
        ("kd", {"kd_T": 2.0, "kd_S": 3.0}, {"T": 5}, "T=5,S=5", (0.9, 1)),
        ("kd", {}, {"S": 5}, "T=4,S=5", (0.9, 1)),
    ],
)
def test_published_settings(name, setting, given, keys, weights):
    method = distillers[name](Setting(**setting), **given)
    assert method.spell() == keys
    assert (method.loss_weight, method.default_gamma) == weights


@pytest.mark.parametrize("name", LOGIT_METHODS)
def test_every_key_changes_the_loss(name):
    def loss(**given):
        method = distillers[name](Setting(), **given)
        method.start_epoch(1)
        return float(method(STUDENT, TEACHER, Target(LABELS)))

    for one, bounds in distillers[name].keys().items():
        if one != "weight":
            assert loss(**{one: min(7, bounds.high / 2)}) != loss(), one


@pytest.mark.parametrize(
    "text, message",
    [
        ("dkd:betta=8", "unknown key of dkd 'betta'. Did you mean 'beta'? Choices: alpha, beta, "),
        ("dkd:beta=x", "dkd: beta='x' is not a number from 0 to 1000000"),
        ("dkd:T=0", "dkd: T='0' is not a number from 0.01 to 1000"),
        ("dkd:T", "dkd: 'T' is not key=value"),
        ("dkd:T=1,T=2", "dkd has the key T twice"),
        ("crd:mode=loose", "crd: mode='loose' is not one of exact, relax"),
        ("dkd:T=1+dkd", "'dkd:T=1+dkd' names a distiller twice"),
        ("kdd:T=1", "unknown distiller 'kdd'. Did you mean 'kd'?"),
        (":T=1", "a distiller has no name: ':T=1'"),
        ("rkd:w_d=1e400", "rkd: w_d='1e400' is not a number from 0 to 1000000"),
        ("dkd:warmup=1.5", "dkd: warmup='1.5' is not a whole number from 0 to 100000"),
    ],
)
def test_wrong_keys_are_named(text, message):
    with pytest.raises(UserError) as error:
        parse_methods(text)
    assert str(error.value).startswith(message)


# Feature methods
