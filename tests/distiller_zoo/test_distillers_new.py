"""The methods after CRD: loops in NumPy, known identities, mixed labels, extreme logits, network
pairs."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distiller_zoo import dist, dkd, ls, nkd, parse_methods, review, simkd, ttm
from distiller_zoo.base import Batch, Outputs, Setting, Target
from distiller_zoo.kd import kd_loss
from distiller_zoo.registry import distillers
from helper.errors import UserError
from models import build_model

LOGIT_METHODS = ["dkd", "dist", "nkd", "ttm", "wttm", "mlkd", "ls", "dkd_ls", "mlkd_ls", "wsld"]
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


@pytest.mark.parametrize("name", ["kd", *LOGIT_METHODS])
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

PAIRS = [  # teacher, student, image size
    ("resnet8x4", "vgg8", 32),
    ("vgg8", "resnet8x4", 32),
    ("wrn_16_2", "resnet8", 32),
    ("resnet8", "wrn_16_2", 32),
    ("resnet14", "resnet8", 32),
    ("vgg8", "wrn_16_1", 64),
]


def build(name, size):
    return build_model(
        name, num_classes=10, img_size=size, generator=torch.Generator().manual_seed(1)
    )


def pair_of(method, teacher_name, student_name, size, pair="", **options):
    """The method built for the pair, and what the two networks say of four random images."""
    teacher, student = (
        build(teacher_name, size).eval().requires_grad_(False),
        build(student_name, size),
    )
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(2))
    outputs = []
    for model, preact in ((student, method.preact), (teacher, method.teacher_preact)):
        features, logits = model(images, is_feat=True, preact=preact)
        outputs.append(Outputs(logits, features))
    setting = Setting(
        student_shapes=[feature.shape for feature in outputs[0].features],
        teacher_shapes=[feature.shape for feature in outputs[1].features],
        pair=pair,
        teacher_classifier=[
            module for module in teacher.modules() if isinstance(module, nn.Linear)
        ][-1],
    )
    torch.manual_seed(3)
    return method(setting, **options), setting, *outputs


def with_head(method, student):
    """The student's outputs as the step hands them to the method."""
    return method.replace_head(student) if method.changes_head else student


BATCH = Batch(Target(torch.tensor([1, 2, 3, 4])), torch.arange(4))


def pooled_by_hand(maps, side):
    """(P, C, H, W) -> (P, C, side, side): means over cells from floor to ceil, as in adaptive
    pooling."""
    height, width = maps.shape[2:]
    out = np.zeros((*maps.shape[:2], side, side))
    for i in range(side):
        for j in range(side):
            up, left = i * height // side, j * width // side
            down, right = -(-(i + 1) * height // side), -(-(j + 1) * width // side)
            out[:, :, i, j] = maps[:, :, up:down, left:right].mean((2, 3))
    return out


@pytest.mark.parametrize(
    "side, grids", [(8, (4, 2, 1)), (6, (4, 2, 1)), (4, (2, 1)), (2, (1,)), (1, ())]
)
def test_hcl_is_the_formula(side, grids):
    student, teacher = normal(4, (3, 2, side, side)), normal(5, (3, 2, side, side))
    total, weights = ((student - teacher).numpy() ** 2).mean(), 1.0
    for level, grid in enumerate(grids, start=1):
        difference = pooled_by_hand(student.numpy(), grid) - pooled_by_hand(teacher.numpy(), grid)
        total, weights = total + 0.5**level * (difference**2).mean(), weights + 0.5**level
    close(review.hcl_loss(student, teacher), total / weights)
    assert float(review.hcl_loss(teacher, teacher)) == 0
    assert torch.autograd.gradcheck(lambda s: review.hcl_loss(s, teacher), student.requires_grad_())


def normalised_by_hand(maps):
    """BatchNorm in training mode, scale 1, shift 0."""
    mean, variance = maps.mean((0, 2, 3), keepdims=True), maps.var((0, 2, 3), keepdims=True)
    return (maps - mean) / np.sqrt(variance + 1e-5)


def resized_by_hand(maps, side):
    index = [i * maps.shape[2] // side for i in range(side)]
    return maps[:, :, index][:, :, :, index]


def convolved_by_hand(maps, weight):
    """k x k convolution, padded to keep the size."""
    kernel, side = weight.shape[2], maps.shape[2]
    padded = np.pad(maps, ((0, 0), (0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
    out = np.zeros((len(maps), len(weight), side, side))
    for i in range(side):
        for j in range(side):
            out[:, :, i, j] = np.einsum(
                "pcij,ocij->po", padded[:, :, i : i + kernel, j : j + kernel], weight
            )
    return out


def test_fusion_is_the_formula():
    torch.manual_seed(0)
    fuse = review.AttentionBasedFusion(3, 2, 4, is_deepest=False).double()
    student, deeper = normal(6, (5, 3, 4, 4)), normal(7, (5, 2, 2, 2))
    predicted, merged = fuse(student, deeper, (8, 8))

    mine = normalised_by_hand(
        convolved_by_hand(student.numpy(), fuse.reduce[0].weight.detach().numpy())
    )
    theirs = resized_by_hand(deeper.numpy(), 4)
    scores = convolved_by_hand(
        np.concatenate([mine, theirs], 1), fuse.attention[0].weight.detach().numpy()
    )
    shares = 1 / (1 + np.exp(-(scores + fuse.attention[0].bias.detach().numpy()[:, None, None])))
    expected = resized_by_hand(shares[:, :1] * mine + shares[:, 1:] * theirs, 8)
    np.testing.assert_allclose(merged.detach(), expected, rtol=1e-9, atol=1e-12)
    expected = normalised_by_hand(
        convolved_by_hand(expected, fuse.predict[0].weight.detach().numpy())
    )
    np.testing.assert_allclose(predicted.detach(), expected, rtol=1e-9, atol=1e-12)


def test_review_goes_from_deep_to_shallow():
    method, _, student, teacher = pair_of(review.Review, "resnet14", "resnet8", 32)
    s, t, fuse = student.features, teacher.features, method.fusions
    assert len(fuse) == 4
    vector, merged = fuse[0](s[4].view(4, 64, 1, 1), None, (1, 1))
    stage3, merged = fuse[1](s[3], merged, (8, 8))
    stage2, merged = fuse[2](s[2], merged, (16, 16))
    stage1, merged = fuse[3](s[1], merged, (32, 32))
    expected = review.hcl_loss(vector, t[4].view(4, 64, 1, 1)) + review.hcl_loss(stage3, t[3])
    expected += review.hcl_loss(stage2, t[2]) + review.hcl_loss(stage1, t[1])
    close(method(with_head(method, student), teacher, BATCH), expected, rel=1e-5)
    (to_deepest,) = torch.autograd.grad(review.hcl_loss(stage1, t[1]), s[4], retain_graph=True)
    assert to_deepest.abs().sum() > 0
    method.start_epoch(5)
    close(method(with_head(method, student), teacher, BATCH), 0.25 * expected, rel=1e-5)


@pytest.mark.parametrize("method", [review.Review, simkd.SimKD])
@pytest.mark.parametrize("teacher_name, student_name, size", PAIRS)
def test_any_pair_trains_the_student_and_the_method(method, teacher_name, student_name, size):
    method, setting, student, teacher = pair_of(method, teacher_name, student_name, size)
    for feature in student.features:
        feature.retain_grad()
    loss = method(with_head(method, student), teacher, BATCH)
    assert loss.shape == () and float(loss.detach()) > 0
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.parameters())
    assert student.features[-2].grad.abs().sum() > 0
    if isinstance(method, review.Review):
        levels = min(len(setting.student_shapes), len(setting.teacher_shapes)) - 1
        assert len(method.fusions) == levels
        assert all(feature.grad.abs().sum() > 0 for feature in student.features[-levels:])
    assert setting.teacher_classifier.weight.grad is None


def pooled(maps, size):
    return F.adaptive_avg_pool2d(maps, size)


@pytest.mark.parametrize(
    "teacher_name, student_name, size",
    [*PAIRS, ("ShuffleV1", "resnet8", 32), ("MobileNetV2_0_25", "resnet8", 32)],
)
def test_simkd_compares_maps_and_uses_the_teachers_classifier(teacher_name, student_name, size):
    method, setting, student, teacher = pair_of(simkd.SimKD, teacher_name, student_name, size)
    method.eval()
    last, of_teacher = student.features[-2], teacher.features[-2]
    side = min(last.shape[2], of_teacher.shape[2])
    projected = method.project(pooled(last, side))
    classify = setting.teacher_classifier
    torch.testing.assert_close(
        method.replace_head(student).logits, classify(projected.mean((2, 3)))
    )
    if teacher_name == "MobileNetV2_0_25":  # a convolution between its last map and the average
        error = (projected.mean((2, 3)) - teacher.features[-1]).square().mean()
    else:
        classified = of_teacher.clamp(min=0)
        torch.testing.assert_close(classify(classified.mean((2, 3))), teacher.logits)
        error = (projected - pooled(classified, side)).square().mean()
    close(method(with_head(method, student), teacher, BATCH), error, rel=1e-5)
    assert not {"weight", "bias"} & dict(method.named_parameters()).keys()
    assert {"weight", "bias"} < method.state_dict().keys()


@pytest.mark.parametrize("factor", [2, 4])
def test_simkd_projector_is_a_bottleneck(factor):
    method, _, student, _ = pair_of(simkd.SimKD, "resnet8x4", "resnet8", 32, factor=factor)
    method = method.double()
    maps = student.features[-2].detach().double()
    expected = maps.numpy()
    convs = [module for module in method.project if isinstance(module, nn.Conv2d)]
    narrow = 256 // factor
    assert [tuple(conv.weight.shape) for conv in convs] == [
        (narrow, 64, 1, 1),
        (narrow, narrow, 3, 3),
        (256, narrow, 1, 1),
    ]
    for conv in convs:
        expected = np.maximum(
            normalised_by_hand(convolved_by_hand(expected, conv.weight.detach().numpy())), 0
        )
    projected = method.replace_head(Outputs(student.logits, [maps, maps.mean((2, 3))])).head_input
    np.testing.assert_allclose(projected.detach(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "classifier, reads",
    [(nn.Linear(3, 10), "it reads 3 values"), (None, "it reads nothing linear")],
)
def test_simkd_refuses_a_teacher_that_does_not_classify_its_vector(classifier, reads):
    shapes = [torch.Size([4, 512, 4, 4]), torch.Size([4, 512])]
    with pytest.raises(
        UserError,
        match=f"--distill simkd: needs a teacher that classifies its 512 features; {reads}",
    ):
        simkd.SimKD(Setting(shapes, shapes, teacher_classifier=classifier))


@pytest.mark.parametrize("name", ["review", "simkd", "srrl"])
def test_feature_methods_take_half_precision(name):
    method, _, student, teacher = pair_of(distillers[name], "resnet8x4", "resnet8", 32)
    half = [
        Outputs(o.logits, [f.detach().bfloat16() for f in o.features]) for o in (student, teacher)
    ]
    loss = method(with_head(method, half[0]), half[1], BATCH)
    full = method(with_head(method, student), teacher, BATCH)
    assert loss.dtype == torch.float32
    close(loss, full, rel=0.02)


def test_srrl_is_the_formula():
    """The transferred vector against the teacher's, and the teacher's classifier on both."""
    method, setting, student, teacher = pair_of(
        distillers["srrl"], "resnet8x4", "vgg8", 32, features=2, regression=3
    )
    weight = method.transfer[0].weight.detach().numpy()[:, :, 0, 0]
    vectors = student.features[-1].detach().numpy() @ weight.T
    vectors = (vectors - vectors.mean(0)) / np.sqrt(vectors.var(0) + 1e-5)
    vectors = torch.from_numpy(np.maximum(vectors, 0))
    classify = setting.teacher_classifier
    expected = 2 * (vectors - teacher.features[-1]).square().mean()
    expected += 3 * (classify(vectors) - teacher.logits).square().mean()
    loss = method(student, teacher, BATCH)
    close(loss, expected, rel=1e-4)
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.parameters())
    assert classify.weight.grad is None


@pytest.mark.parametrize("dataset, preact", [("cifar100", False), ("imagenet", True)])
def test_review_reads_the_student_after_relu_but_on_imagenet(dataset, preact):
    method, setting, *_ = pair_of(review.Review, "resnet14", "resnet8", 32)
    method = review.Review(dataclasses.replace(setting, dataset=dataset))
    assert (method.preact, method.teacher_preact) == (preact, True)


def test_feature_methods_have_published_weights():
    method, *_ = pair_of(review.Review, "resnet14", "resnet8", 32, pair="resnet56/resnet20")
    assert method.describe() == "4 levels" and method.spell() == "warmup=20,channels=512"
    assert (method.loss_weight, method.default_gamma) == (0.6, 1.0)
    method, *_ = pair_of(simkd.SimKD, "resnet14", "resnet8", 32)
    assert (method.loss_weight, method.default_gamma, method.changes_head) == (1.0, 0.0, True)
