"""No mechanism for speed changes a result: the step against the classic loop, each network
against itself."""

import os

import pytest
import torch
from kinds import KINDS
from torch import nn
from torch.fx import GraphModule

import helper.speed.compiled
import helper.speed.frozen
from augment import PUBLISHED, MixSettings, Pick, mix_modes, pick_criteria
from dataset import DataRequest, datasets
from dataset.batches import Normalize
from distiller_zoo import Setting
from distiller_zoo.kd import KD
from helper.loop.metrics import MOST_PENDING, MeanMeter
from helper.loop.state import load_optimizer
from helper.speed import place
from helper.speed.both_views import BothViews
from helper.speed.frozen import FrozenCopy, frozen_copy, part_size
from helper.speed.layout import wide_on_few_pixels
from helper.step import passes
from helper.step.distill import DistillStep, loss_weights
from helper.step.networks import freeze
from helper.step.passes import ViewMaker, student_passes
from helper.step.teacher_stats import GROUP_STEPS, TeacherStddev
from models import build_model, model_dict
from scripts.bench.classic_loop import ALPHA, GAMMA, ClassicLoop

SPEC = datasets["cifar100"].spec(DataRequest())
BATCH = 8
SAME_LOSS = 2e-5
"""Relative. On one thread a divergence of 0.25 differs by 1.16e-5 after a step."""


def network(name, seed=0, img_size=32):
    """A network whose BatchNorms have seen something."""
    generator = torch.Generator().manual_seed(seed)
    model = build_model(name, num_classes=100, img_size=img_size, generator=generator)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (BATCH, 32, 32, 3), dtype=torch.uint8, generator=generator)
    return Normalize(SPEC)(pixels), torch.randint(100, (BATCH,), generator=generator)


def fast_step(mode, *, amp=False, at_once=False):
    """The step, with its `network`, as train_student.py builds them for KD with weights [1,0,1]."""
    student = place(network("resnet8", 1), torch.device("cpu"), 32)
    pick = None
    if mode == "cutmix_pick":
        pick = Pick(pick_criteria["teacher_entropy"], BATCH, 4.0)
    teacher = place(freeze(network("wrn_16_1")), torch.device("cpu"), 32)
    views = ViewMaker(
        frozen_copy(teacher, 32, amp=amp),
        mix_modes[mode](SPEC, MixSettings()),
        torch.Generator().manual_seed(3),
        pick=pick,
        amp=amp,
    )
    weights = loss_weights(GAMMA, {"kd": ALPHA}, lw_mix=(1.0, 0.0, 1.0))
    passes = student_passes(student, amp=amp, both_views=BothViews(student) if at_once else None)
    step = DistillStep(views, passes, {"kd": KD(Setting())}, {}, weights, teacher_target=True)
    step.network = student
    return step


def steps(step, count):
    """The losses of some optimisation steps, in numbers."""
    optimizer = torch.optim.SGD(step.network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    seen = []
    for seed in range(count):
        losses, _ = step(*batch(seed), torch.arange(BATCH))
        total = step.weights.total(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        seen.append(
            {name: float(loss.detach()) for name, loss in (losses | {"loss": total}).items()}
        )
    return seen


@pytest.fixture
def one_thread():
    """Sums then have one order, and rounding does not grow from step to step."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("mode", [*PUBLISHED, "mean", "cutmix_pick"])
def test_losses_are_those_of_the_classic_loop(mode, one_thread):
    fast, classic = steps(fast_step(mode), 2), classic_loop(mode)
    for seed, losses in enumerate(fast):
        images, labels = batch(seed)
        classic_losses = classic.train_step(images.contiguous(), labels)
        expected = {name: classic_losses[name] for name in losses}
        assert losses == pytest.approx(expected, rel=SAME_LOSS)


def classic_loop(mode):
    return ClassicLoop(
        freeze(network("wrn_16_1")),
        network("resnet8", 1),
        mix_modes[mode](SPEC, MixSettings()),
        torch.Generator().manual_seed(3),
        pick_count=BATCH if mode == "cutmix_pick" else None,
    )


@pytest.mark.parametrize("mode", ["cutmix", "cutmix_pick"])
def test_t_stddev_is_that_of_the_classic_loop(mode, one_thread):
    views, stddev, classic = fast_step(mode).views, TeacherStddev(100), classic_loop(mode)
    for seed in range(3 * GROUP_STEPS):
        images, _ = batch(seed)
        seen = views(images)
        stddev.update(seen.teacher_clean.softmax(1), seen.teacher_view.softmax(1))
        classic.measure_step(images.contiguous())
    assert stddev.value()[0] == pytest.approx(classic.amounts["t_stddev"][-1], rel=1e-5)


@pytest.mark.parametrize("mode", ["cutmix", "cutmix_pick"])
def test_losses_of_both_views_at_once_are_those_of_the_classic_loop(mode, one_thread):
    (wanted,) = steps(fast_step(mode), 1)
    torch.set_num_threads(2)
    (losses,) = steps(fast_step(mode, at_once=True), 1)
    assert losses == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("mode", ["cutmix", "cutmix_pick"])
def test_amp_losses_are_close(mode):
    (plain,), (amp,) = steps(fast_step(mode), 1), steps(fast_step(mode, amp=True), 1)
    assert amp == pytest.approx(plain, rel=0.05)


@pytest.mark.parametrize("name", KINDS)
def test_a_frozen_copy_gives_the_same_logits(name):
    model = freeze(network(name))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fast, in_bfloat16 = frozen_copy(model, 32), frozen_copy(model, 32, amp=True)
    assert type(fast) is type(in_bfloat16) is FrozenCopy
    expected, logits = model(images), fast(images)
    rounded = in_bfloat16(images[:1])  # slow on a processor without bfloat16
    scale = expected.abs().max()
    assert logits.dtype == rounded.dtype == torch.float32
    assert (logits - expected).abs().max() <= 1e-5 * scale
    assert (rounded - expected[:1]).abs().max() <= 0.05 * scale
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    left, norms = (count_norms(network) for network in (fast.network, model))
    assert left < norms and (left == 0 or name.startswith("wrn"))


def count_norms(network):
    """Those that are called, where the network is a traced one."""
    layers = network.modules()
    if isinstance(network, GraphModule):
        calls = [node for node in network.graph.nodes if node.op == "call_module"]
        layers = [network.get_submodule(node.target) for node in calls]
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in layers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("vgg13", 32, 4),
        ("vgg8", 64, 1),
        ("resnet32x4", 32, 0),
        ("ResNet18", 32, 4),
        ("wrn_16_2", 32, 0),
    ],
)
def test_wide_convolutions_on_few_pixels_have_the_plain_layout(name, size, count):
    """Which changes neither logits nor gradients; those of vgg13 on 4x4 pixels:

    256 to 512, and three of 512 channels.
    """
    plain, fast_model = (network(name, img_size=size) for _ in range(2))
    fast_model = place(fast_model, torch.device("cpu"), size)
    layers = wide_on_few_pixels(fast_model, size)
    assert len(layers) == count and all(layer.weight.is_contiguous() for layer in layers)
    in_front = {}
    for layer in layers:
        layer.register_forward_hook(lambda layer, inputs, _: in_front.update({layer: inputs[0]}))
    images = torch.randn(
        2, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    expected, logits = (
        plain.double()(images),
        fast_model.double()(images.to(memory_format=torch.channels_last)),
    )
    assert all(each.is_contiguous() for each in in_front.values()) and len(in_front) == count
    for each in (expected, logits):
        each.square().mean().backward()
    gradients = [
        [parameter.grad for parameter in model.parameters()] for model in (fast_model, plain)
    ]
    torch.testing.assert_close(
        [logits, *gradients[0]], [expected, *gradients[1]], rtol=1e-6, atol=1e-9
    )


def test_frozen_copy_where_float32_convolutions_are_less_precise(monkeypatch):
    """TF32, as on a GPU by default, has ten bits of a float32's mantissa."""
    exact = nn.Conv2d._conv_forward

    def rounded(values):
        mantissa, exponent = values.frexp()
        return (
            (mantissa * 2**11).round().div(2**11).ldexp(exponent)
            if values.dtype == torch.float32
            else values
        )

    def in_tf32(layer, images, weight, bias):
        return exact(layer, rounded(images), rounded(weight), bias)

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", in_tf32)
    monkeypatch.setattr(helper.speed.frozen, "may_be_tf32", lambda value: True)
    assert type(frozen_copy(freeze(network("resnet20")), 32)) is FrozenCopy


class OnGPU(torch.Tensor):
    """Says that it is on a GPU."""

    is_cuda = True


@torch.no_grad()
@pytest.mark.parametrize("preacts", [(), (False,), (True, False)])
def test_what_a_cuda_graph_overwrites_is_copied(monkeypatch, preacts):
    """Simulated: a network that returns the same memory at each call."""

    class Overwriting(nn.Module):
        memory = torch.zeros(2, 3)

        def forward(self, images, is_feat=False, preact=False):
            logits, feature = self.memory.copy_(images[:, :3] + preact)
            return ([feature], logits) if is_feat else logits

    monkeypatch.setattr(passes, "is_compiled", lambda model: True)
    model = Overwriting()
    images = torch.ones(2, 3).as_subclass(OnGPU)
    logits, features = passes.outputs_of(model, images, preacts)
    kept = [logits.clone(), *(value.clone() for preact in preacts for value in features[preact])]
    passes.outputs_of(model, 5 * images, preacts)
    assert all(
        torch.equal(a, b)
        for a, b in zip(kept, [logits, *(v for p in preacts for v in features[p])])
    )
    if len(preacts) == 2:
        assert features[True][0].tolist() != features[False][0].tolist()


def test_a_state_from_another_device_leaves_the_optimizer_its_kernel():
    def optimizer(fused):
        weight = nn.Parameter(torch.ones(3))
        weight.grad = torch.ones(3)
        return torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=fused)

    for here, there in ((True, None), (None, True)):
        other, loaded = optimizer(there), optimizer(here)
        other.step()
        load_optimizer(loaded, other.state_dict())
        assert loaded.param_groups[0]["fused"] is here
        loaded.step()


def test_frozen_copy_goes_by_the_image_size_and_in_parts():
    model = freeze(network("vgg8", img_size=64))
    images = torch.randn(20, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    expected = model(images)
    logits = frozen_copy(model, 64)(images)
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    # What a loss keeps for its backward pass must not be of inference mode.
    scale = torch.ones((), requires_grad=True)
    (logits * scale).sum().backward()
    assert scale.grad.isfinite()


def test_what_cannot_be_traced_is_left_alone():
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x, is_feat=False, preact=False):
            return self.fc(x.mean(dim=(2, 3))) * (1 if x.sum() > 0 else 2)

    model = freeze(Moody())
    assert frozen_copy(model, 8) is model
    assert frozen_copy(nn.Flatten(), 8)(torch.zeros(1, 3, 8, 8)).shape == (1, 192)


def test_statistics_do_not_grow():
    """One number more a step, for ever, is what ends long runs."""

    def size(state):
        return {
            name: value.shape if torch.is_tensor(value) else type(value)
            for name, value in state.items()
        }

    stddev, meter = TeacherStddev(10), MeanMeter()
    stddev.update(torch.rand(4, 10))
    meter.update({"loss": torch.zeros(())}, 4)
    before = size(stddev.state_dict()), size(meter.state_dict())
    for _ in range(MOST_PENDING):
        stddev.update(torch.rand(4, 10))
        meter.update({"loss": torch.zeros(())}, 4)
    assert len(meter._pending) < MOST_PENDING
    assert (size(stddev.state_dict()), size(meter.state_dict())) == before


@pytest.mark.parametrize("amp", [False, True])
def test_parts_on_cores_of_their_own_give_the_same_bits(amp):
    """Also in a child process, which has none of its parent's threads."""
    network = freeze(
        build_model(
            "wrn_16_1", num_classes=7, img_size=32, generator=torch.Generator().manual_seed(0)
        )
    )
    fast, images = frozen_copy(network, 32, amp=amp), torch.randn(13, 3, 32, 32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = fast(images)
        torch.set_num_threads(3)
        together = fast(images)
        assert torch.get_num_threads() == 3
        pid = os.fork()
        if not pid:
            os._exit(0 if torch.equal(fast(images), alone) else 1)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone, together) and not together.is_inference()


@pytest.mark.parametrize(
    ("batch", "most", "cores", "size"),
    [
        (128, 64, 1, 64), (128, 64, 2, 64), (192, 64, 2, 48), (128, 64, 8, 16), (128, 64, 3, 43),
        (5, 64, 8, 1), (64, 16, 2, 16), (3, 64, 1, 3), (2, 1, 2, 1),
    ],
)  # fmt: skip
def test_parts_leave_no_core_idle(batch, most, cores, size):
    assert part_size(batch, most=most, cores=cores) == size


@pytest.mark.parametrize(
    ("name", "img_size", "images"), [("vgg13", 32, 64), ("ResNet50", 32, 32), ("wrn_40_2", 64, 16)]
)
def test_wide_networks_and_large_images_come_in_smaller_parts(name, img_size, images):
    """The widest layer's output for a part has 32 MiB at the most, 4 bytes a value."""
    network = model_dict[name](num_classes=3, img_size=img_size).eval()
    assert frozen_copy(network, img_size).at_once == images
