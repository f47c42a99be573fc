"""The methods of CRD's comparison: recorded losses, the features they read, CRD's sampling and
memory.

Recorded values come from the original's float64 and float32 runs (tests/golden/losses.*).
"""

import copy

import numpy as np
import pytest
import torch
from method_inputs import (
    ARRAYS,
    DTYPES,
    RECORDS,
    batch_of,
    checksum,
    each_precision,
    loss_of,
    near,
    normal,
    outputs,
    positive,
    setting_of,
    shapes_of,
)
from recipe import load_recipe
from torch import nn

from distiller_zoo import (
    abound,
    attention,
    correlation,
    factor,
    fsp,
    hint,
    kdsvd,
    nst,
    pkt,
    rkd,
    similarity,
    vid,
)
from distiller_zoo.base import Outputs, Setting
from distiller_zoo.connectors import ConvReg, LinearEmbed, Paraphraser, Translator, pair_stages
from distiller_zoo.registry import distillers
from helper.errors import UserError
from models import model_dict

METHODS = (
    "hint attention similarity correlation vid crd kdsvd fsp rkd pkt abound factor nst".split()
)
INITIAL_STAGE = {"abound", "fsp", "factor"}


# --- recorded losses: name -> (loss of two lists of tensors, the student's, the teacher's)

BIG = [(8, 32, 32, 32), (8, 64, 16, 16), (8, 128, 8, 8)]
WIDE = [(8, 64, 32, 32), (8, 128, 16, 16), (8, 256, 8, 8)]
SMALL = [(8, 128, 16, 16), (8, 256, 8, 8), (8, 512, 4, 4)]
NARROW = [(4, 16, 32, 32), (4, 16, 32, 32), (4, 32, 16, 16), (4, 64, 8, 8)]
SQUARE = [(4, 16, 16, 16), (4, 32, 8, 8), (4, 64, 8, 8)]
VECTORS = [positive(90, 64, 64)], [positive(91, 64, 256)]


def maps(seed, shapes, draw=positive):
    return [draw(seed + index, *shape) for index, shape in enumerate(shapes)]


def first_images(tensors):
    return [tensor[:4] for tensor in tensors]


def each(loss):
    return lambda student, teacher: sum(loss(s, t) for s, t in zip(student, teacher))


def rkd_with(**weights):
    return each(lambda student, teacher: rkd.rkd_loss(student, teacher, **weights))


def recorded_vid(student, teacher):
    """The recipe fills the convolutions; log_scale keeps its constant."""
    total = 0.0
    for s, t in zip(student, teacher):
        predictor = vid.Predictor(s.shape[1], t.shape[1])
        load_recipe(nn.ModuleDict({"regressor": predictor.regressor}))
        total = total + predictor.to(s.dtype)(s, t)
    return total


def recorded_kdsvd(student, teacher):
    """With the signs that the original's SVD happened to give the teacher's vectors."""
    vectors_t = []
    for stage, t in enumerate(teacher):
        vectors = kdsvd.right_vectors(t, 1)
        recorded = torch.from_numpy(ARRAYS[f"KDSVD/teacher_v{stage}"]).mT.to(t.dtype)  # (B, 1, C)
        vectors_t.append(vectors * (vectors * recorded).sum(2, keepdim=True).sign())
    return kdsvd.kdsvd_loss([kdsvd.right_vectors(s, 4) for s in student], vectors_t)


CASES = {
    "AT": (each(attention.attention_loss), maps(10, BIG), maps(20, WIDE)),
    "AT_spatial_s_gt_t": (each(attention.attention_loss), maps(10, BIG), maps(30, SMALL)),
    "AT_spatial_s_lt_t": (each(attention.attention_loss), maps(30, SMALL), maps(10, BIG)),
    "SP": (each(similarity.similarity_loss), maps(10, BIG)[2:], maps(20, WIDE)[2:]),
    "NST": (each(nst.nst_loss), first_images(maps(10, BIG)[1:]), first_images(maps(20, WIDE)[1:])),
    "NST_spatial_s_gt_t": (
        each(nst.nst_loss),
        first_images(maps(10, BIG)[1:2]),
        first_images(maps(30, SMALL)[1:2]),
    ),
    "FT": (each(factor.factor_loss), [normal(12, 8, 128, 8, 8)], [normal(22, 8, 128, 8, 8)]),
    "FT_spatial_s_gt_t": (
        each(factor.factor_loss),
        [normal(11, 8, 64, 16, 16)],
        [normal(22, 8, 128, 8, 8)],
    ),
    "HINT": (each(hint.hint_loss), [positive(11, 8, 64, 16, 16)], [positive(41, 8, 64, 16, 16)]),
    "FSP": (fsp.fsp_loss, maps(50, NARROW), maps(60, NARROW)),
    "AB": (abound.abound_loss, maps(70, WIDE, normal), maps(80, WIDE, normal)),
    "RKD": (rkd_with(), *VECTORS),
    "RKD_wd1_wa0": (rkd_with(w_d=1, w_a=0), *VECTORS),
    "RKD_wd0_wa1": (rkd_with(w_d=0, w_a=1), *VECTORS),
    "PKT": (each(pkt.pkt_loss), *VECTORS),
    "CC": (each(correlation.correlation_loss), [normal(93, 64, 128)], [normal(94, 64, 128)]),
    "KDSVD": (recorded_kdsvd, maps(100, SQUARE), maps(110, SQUARE)),
    "VID_0": (recorded_vid, maps(10, BIG)[:1], maps(20, WIDE)[:1]),
    "VID_1": (recorded_vid, maps(10, BIG)[1:2], maps(20, WIDE)[1:2]),
    "VID_2": (recorded_vid, maps(10, BIG)[2:], maps(20, WIDE)[2:]),
    "VID_spatial_s_gt_t": (recorded_vid, maps(10, BIG)[2:], maps(30, SMALL)[2:]),
}


@each_precision
@pytest.mark.parametrize("name", CASES)
def test_recorded_value_and_gradients(name, precision):
    loss_of, student, teacher = CASES[name]
    student = [s.to(DTYPES[precision], copy=True).requires_grad_() for s in student]
    loss = loss_of(student, [t.to(DTYPES[precision]) for t in teacher])
    loss.backward()
    expected = RECORDS[name][precision]
    tolerance = {"f32": 3e-5, "f64": 1e-6 if name.startswith("RKD") else 1e-9}[precision]
    assert loss.shape == ()
    assert loss.item() == near(expected["value"], tolerance)
    for s, norm, dot in zip(student, expected["grad_norms"], expected["grad_dots"], strict=True):
        assert float(s.grad.norm()) == near(norm, tolerance)
        assert checksum(s.grad) == near(dot, tolerance, absolute=tolerance * norm)


# --- recorded small networks

MODULES = {
    "ConvReg_same": (lambda: ConvReg((8, 64, 16, 16), (8, 128, 16, 16)), (11, 8, 64, 16, 16)),
    "ConvReg_down": (lambda: ConvReg((8, 64, 16, 16), (8, 128, 8, 8)), (11, 8, 64, 16, 16)),
    "ConvReg_up": (lambda: ConvReg((8, 128, 8, 8), (8, 64, 16, 16)), (12, 8, 128, 8, 8)),
    "LinearEmbed": (lambda: LinearEmbed(64, 128), (90, 64, 64)),
    "Translator": (lambda: Translator((8, 64, 16, 16), (8, 128, 16, 16)), (11, 8, 64, 16, 16)),
    "Paraphraser_factor": (lambda: Paraphraser((8, 64, 16, 16)), (11, 8, 64, 16, 16)),
    "Paraphraser_rec": (lambda: Paraphraser((8, 64, 16, 16)), (11, 8, 64, 16, 16)),
}


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", MODULES)
def test_recorded_small_network(name, mode):
    build, inputs = MODULES[name]
    record = RECORDS[f"MOD_{name}"]
    network = load_recipe(build()).double().train(mode == "train")
    assert [[key, list(value.shape)] for key, value in network.state_dict().items()] == record[
        "state_dict"
    ]
    x = positive(*inputs).requires_grad_()
    out = (network.encoder if name == "Paraphraser_factor" else network)(x)
    out.square().sum().backward()
    expected, out = record[mode], out.detach()
    assert list(out.shape) == expected["out_shape"]
    assert float(out.mean()) == near(expected["mean"], 1e-9)
    assert float(out.std(correction=0)) == near(expected["std_ddof0"], 1e-9)
    assert checksum(out) == near(expected["dot"], 1e-8)
    assert float(x.grad.norm()) == near(expected["grad_norm_of_sum_sq"], 1e-9)


# --- every method on the shapes of real pairs of networks


PAIRS = {  # (teacher, student): the student's features that the methods of several stages read
    ("resnet8x4", "resnet8"): [1, 2, 3],
    ("wrn_40_2", "wrn_16_2"): [1, 2, 3],
    ("vgg13", "resnet8"): [1, 2, 3],
    ("resnet32x4", "vgg8"): [2, 3, 4],
    ("vgg13", "MobileNetV2"): [1, 2, 3, 4],
    ("resnet32x4", "ShuffleV2"): [1, 2, 3],
}
ONE_WIDTH = {("wrn_40_2", "wrn_16_2")}


def features_read(name, stages, count):
    if name == "fsp":
        return [0, *stages]
    if name == "hint":
        return [2]
    if name in ("similarity", "factor"):
        return [count - 2]
    return [count - 1] if name in ("rkd", "pkt", "crd", "correlation") else stages


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("name", METHODS)
def test_on_the_shapes_of_real_networks(name, pair):
    teacher_name, student_name = pair
    setting = setting_of(student_name, teacher_name)
    if name in ("fsp", "kdsvd") and pair not in ONE_WIDTH:
        with pytest.raises(UserError, match=f"--distill {name}.*equal channels"):
            distillers[name](setting)
        return
    method = distillers[name](setting)
    student = outputs(setting.student_shapes, 10, requires_grad=True)
    teacher = outputs(setting.teacher_shapes, 30)
    before = copy.deepcopy(teacher.features)
    loss = loss_of(method, student, teacher, batch_of([3, 1, 4, 2]))
    loss.backward()
    assert loss.shape == () and loss.isfinite() and loss > 0
    read = [index for index, feature in enumerate(student.features) if feature.grad is not None]
    assert read == features_read(name, PAIRS[pair], len(student.features))
    assert all(student.features[index].grad.isfinite().all() for index in read)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    assert all(torch.equal(now, then) for now, then in zip(teacher.features, before))


@pytest.mark.parametrize("name", METHODS)
def test_features_of_half_precision_are_compared_in_float32(name):
    setting = setting_of("wrn_16_1", "wrn_40_1")
    method = distillers[name](setting)
    generator_state = method.generator.get_state() if name == "crd" else None
    halves = [
        Outputs(made.logits, [feature.bfloat16() for feature in made.features])
        for made in (outputs(setting.student_shapes, 10), outputs(setting.teacher_shapes, 30))
    ]
    singles = [
        Outputs(half.logits, [feature.float() for feature in half.features]) for half in halves
    ]
    loss = loss_of(method, *halves, batch_of([3, 1, 4, 2], is_clean=False))
    if name == "crd":
        method.generator.set_state(generator_state)
    again = loss_of(method, *singles, batch_of([3, 1, 4, 2], is_clean=False))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(again.item(), rel=1e-5)


DEGENERATE = {
    "zero": [torch.zeros(1)] * 5,
    "one value": [torch.ones(1)] * 5,
    "one image": [
        positive(index, *shape[1:]).float() for index, shape in enumerate(shapes_of("resnet8", 1))
    ],
}


@pytest.mark.parametrize("features", DEGENERATE)
@pytest.mark.parametrize("name", METHODS)
def test_gradient_is_finite_at_degenerate_features(name, features):
    """Dead channels, equal images, and a student that equals its teacher: square roots and norms of
    0."""
    setting = setting_of("resnet8", "resnet8")
    values = [
        value.expand(shape).clone()
        for value, shape in zip(DEGENERATE[features], setting.student_shapes)
    ]
    method = distillers[name](setting)
    student = Outputs(torch.zeros(4, 5), [value.clone().requires_grad_() for value in values])
    loss = loss_of(method, student, Outputs(torch.zeros(4, 5), values), batch_of([3, 1, 4, 2]))
    loss.backward()
    gradients = [f.grad for f in student.features if f.grad is not None]
    assert loss.isfinite() and gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_one_image(name):
    """A training set may leave one over; BatchNorm sees that image's places."""
    setting = setting_of("wrn_16_1", "wrn_40_1", batch=1)
    student, teacher = outputs(setting.student_shapes, 10), outputs(setting.teacher_shapes, 30)
    assert loss_of(distillers[name](setting), student, teacher, batch_of([3])).isfinite()


def test_pairs_meet_at_the_ends():
    assert pair_stages("abcd", "xyz") == [("b", "x"), ("c", "y"), ("d", "z")]
    assert pair_stages("ab", "xyz") == [("a", "y"), ("b", "z")]
    assert pair_stages("ab", "xy") == [("a", "x"), ("b", "y")]


@pytest.mark.parametrize("layer", [-1, 4])
def test_hint_layer_must_be_a_map(layer):
    with pytest.raises(UserError, match=f"--distill hint: --hint_layer {layer} .* 0 to 3"):
        distillers["hint"](setting_of("resnet8", "vgg13", hint_layer=layer))


@pytest.mark.parametrize("student_size", [32, 16, 8, 4])
def test_hint_takes_any_two_sizes(student_size):
    shapes = [torch.Size((2, 4, student_size, student_size))] * 4, [torch.Size((2, 6, 8, 8))] * 4
    method = distillers["hint"](Setting(*shapes))
    kernel = {32: 25, 16: 3, 8: 1, 4: 4}[student_size]  # 25 = 1 + 32 - 8; strides of 2 have 3 and 4
    assert method.regressor.conv.kernel_size == (kernel, kernel)
    assert method(outputs(shapes[0], 1), outputs(shapes[1], 2), batch_of([0, 1])).isfinite()


def test_one_pixel_of_one_image_has_no_variance():
    """BatchNorm raises there in training: a teacher of one-pixel maps, an image left over."""
    shapes = [torch.Size((1, 4, 8, 8))] * 4, [torch.Size((1, 6, 1, 1))] * 4
    method = distillers["hint"](Setting(*shapes)).train()
    assert method(outputs(shapes[0], 1), outputs(shapes[1], 2), batch_of([0])).isfinite()


# --- the initial stage


def features_of(network, preact):
    images = normal(3, 2, 3, 32, 32).float()
    features, logits = network(images, is_feat=True, preact=preact)
    return Outputs(logits, features)


@pytest.mark.parametrize("name", sorted(INITIAL_STAGE))
def test_initial_stage_reaches_what_it_trains(name):
    student, teacher = (model_dict[n](num_classes=5, img_size=32) for n in ("wrn_16_1", "wrn_40_1"))
    method = distillers[name](setting_of("wrn_16_1", "wrn_40_1"))
    with torch.no_grad():
        taught = features_of(teacher.eval(), method.preact)
    method.initial_loss(features_of(student, method.preact), taught).backward()
    trained = [p for module in method.initial_modules(student) for p in module.parameters()]
    assert trained and all(p.grad is not None for p in trained)
    if name == "factor":
        assert all(p.grad is None for p in student.parameters())


def test_only_three_have_an_initial_stage():
    assert {
        name for name in METHODS if getattr(distillers[name], "has_initial_stage", False)
    } == INITIAL_STAGE


def test_the_paraphraser_stays_after_its_stage():
    setting = setting_of("resnet8", "resnet8x4")
    method = distillers["factor"](setting)
    student, teacher = outputs(setting.student_shapes, 10), outputs(setting.teacher_shapes, 30)
    method(student, teacher, batch_of([3, 1, 4, 2])).backward()
    assert all(p.grad is None for p in method.paraphraser.parameters())
    assert all(p.grad is not None for p in method.translator.parameters())


def test_connectors_of_activation_boundaries():
    """Nothing where the shapes agree, else a biased convolution and a BatchNorm, by the two
    sides."""

    def kinds(student, teacher):
        connectors = distillers["abound"](setting_of(student, teacher)).connectors
        return [
            "" if isinstance(c, nn.Identity) else f"{type(c.conv).__name__} {c.conv.kernel_size[0]}"
            for c in connectors
        ]

    assert kinds("resnet8", "resnet14") == kinds("vgg8", "vgg13")[:3] == [""] * 3
    assert kinds("wrn_16_1", "wrn_40_2") == ["Conv2d 1"] * 3
    # maps of 32, 16, 8 pixels to 8, 4, 4
    assert kinds("resnet8", "vgg13") == ["Conv2d 25", "Conv2d 13", "Conv2d 3"]
    assert kinds("vgg8", "resnet8x4") == ["Conv2d 1", "Conv2d 1", "ConvTranspose2d 4"]
    connector = distillers["abound"](setting_of("wrn_16_1", "wrn_40_2")).connectors[0]
    x = normal(1, 2, 16, 4, 4).float()
    torch.testing.assert_close(connector(x), connector.bn(connector.conv(x)))
    assert connector.conv.bias is not None


@pytest.mark.parametrize(
    "student, rate", [("resnet8", 0.01), ("wrn_16_1", 0.01), ("vgg8", float("inf"))]
)
def test_the_rate_of_factors_initial_stage(student, rate):
    setting = setting_of(student, "vgg13", pair=f"vgg13/{student}")
    assert distillers["factor"](setting).initial_learning_rate == rate


# --- singular vectors


@pytest.mark.parametrize("shape", [(2, 3, 2, 3), (2, 6, 2, 2)], ids=["tall", "wide"])
def test_gradient_of_singular_vectors_by_finite_differences(shape):
    features = positive(7, *shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: kdsvd.right_vectors(x, 2), features)


def test_singular_vectors_are_those_of_the_decomposition():
    features = positive(7, 2, 3, 4, 4)
    vectors = kdsvd.right_vectors(features, 2)
    for image, found in zip(features, vectors):
        expected = np.linalg.svd(image.flatten(1).numpy().T)[2][:2]
        assert np.abs((expected * found.numpy()).sum(1)) == pytest.approx(1, rel=1e-9)
    assert (vectors.sum(2) >= 0).all()
