"""Methods newer than CRD that compare features, against loops over plain numbers."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distiller_zoo import review, simkd
from distiller_zoo.base import Batch, Outputs, Setting, Target
from distiller_zoo.registry import distillers
from helper.errors import UserError
from models import build_model

PAIRS = [  # teacher, student, image size
    ("resnet8x4", "vgg8", 32),
    ("vgg8", "resnet8x4", 32),
    ("wrn_16_2", "resnet8", 32),
    ("resnet8", "wrn_16_2", 32),
    ("resnet14", "resnet8", 32),
    ("vgg8", "wrn_16_1", 64),
]


def normal(seed, shape=(6, 5), scale=2.0):
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape) * scale)


def close(value, expected, rel=1e-9):
    value, expected = (
        float(torch.as_tensor(number, dtype=torch.float64).detach()) for number in (value, expected)
    )
    assert value == pytest.approx(expected, rel=rel, abs=1e-12)


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

    own_map = normalised_by_hand(
        convolved_by_hand(student.numpy(), fuse.reduce[0].weight.detach().numpy())
    )
    deeper_map = resized_by_hand(deeper.numpy(), 4)
    scores = convolved_by_hand(
        np.concatenate([own_map, deeper_map], 1), fuse.attention[0].weight.detach().numpy()
    )
    shares = 1 / (1 + np.exp(-(scores + fuse.attention[0].bias.detach().numpy()[:, None, None])))
    expected = resized_by_hand(shares[:, :1] * own_map + shares[:, 1:] * deeper_map, 8)
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
