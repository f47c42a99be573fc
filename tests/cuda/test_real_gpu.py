"""Steps and passes on a real GPU: the CPU's results, no wait of the host that is not documented.
Without a GPU they are skipped."""

import functools
from pathlib import Path

import pytest
import torch
from gpu_loops import (
    CLASSES,
    GROUPS,
    PASS,
    TINY,
    TWO_VIEWS,
    WAITS_ON_PURPOSE,
    measure,
    open_loop,
    write_network,
)
from real_gpu import DEVICE, ON_REAL_GPU, differences, write_sharp_network

from augment import MixSettings, Pick, PoolLogits, build, mix_modes, pick_criteria
from augment.operations import OPERATIONS, Operation, operate
from dataset.synthetic import synthetic_spec
from distiller_zoo.crd import ContrastSampler
from helper.setup.machine import select_device
from helper.speed.compiled import why_not
from helper.speed.frozen import FrozenCopy, frozen_copy
from helper.step.distill import LabelStep
from helper.step.networks import freeze
from helper.step.view_stats import ViewStatistics
from models import build_model, model_dict

pytestmark = ON_REAL_GPU
SPEC = synthetic_spec(CLASSES, 16)
KD = f"{TINY} --learning_rate 0.01 --model_s resnet8 --distill kd"
VIEW = f"{KD} {TWO_VIEWS} --mix_mode cutmix"
PICKS = f"{KD} {TWO_VIEWS} --mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion"
EXACT = "--precision highest"
FEATURES = "--distill kd+hint+attention --feature_views both"


def means_of(words, device, steps=3):
    """The means of the first steps, by name."""
    loop = open_loop(write_network(Path()), words, device)
    loop.run(steps)
    return loop.task.state.meter.read()[1]


@pytest.fixture
def compiler():
    """Skips the test where PyTorch cannot compile for the GPU."""
    if reason := why_not(torch.device(DEVICE)):
        pytest.skip(f"no compiler: {reason}")


# --- Training -------------------------------------------------------------------------------------


def distilled(names):
    words = f"{TINY} {TWO_VIEWS} --mix_mode cutmix --model_s resnet8 --distill {'+'.join(names)}"
    return f"{words} --nce_k 8 --feature_views both --init_epochs 0 --learning_rate 0.0001"


@pytest.fixture
def negatives_of_the_cpu(monkeypatch):
    """crd draws on the device: from the same seed a GPU draws other images than a CPU."""
    draw = ContrastSampler.forward

    def drawn(sampler, rows, negatives, generator):
        here = torch.Generator().manual_seed(generator.initial_seed())
        return draw(sampler.cpu(), rows.cpu(), negatives, here).to(rows.device)

    monkeypatch.setattr(ContrastSampler, "forward", drawn)


@pytest.mark.parametrize("group", GROUPS)
def test_distillers(group, negatives_of_the_cpu):
    words = f"{distilled(GROUPS[group])} {EXACT}"
    there, here = (means_of(words, device, steps=2) for device in (DEVICE, "cpu"))
    assert not differences(there, here, relative=2e-3)


@pytest.mark.parametrize("mode", ["exact", "relax"])
def test_negatives(mode):
    """Any image of another class may come, and no other; a seed draws the same again."""
    labels, rows = torch.arange(20, device=DEVICE) % 4, torch.tensor([3, 0, 14], device=DEVICE)
    sampler = ContrastSampler(labels, mode)
    one, other = (sampler(rows, 500, torch.Generator(DEVICE).manual_seed(seed)) for seed in (1, 1))
    assert torch.equal(one, other)
    for row, drawn in zip(rows.tolist(), one.tolist()):
        assert drawn[0] % 4 == row % 4 and (mode == "relax" or drawn[0] == row)
        assert set(drawn[1:]) == {image for image in range(20) if image % 4 != row % 4}


@pytest.mark.parametrize(
    "words",
    [
        KD,
        VIEW,
        f"{KD} --lw_mix [1,1,1] --mix_mode mixup --utils.check_ce_var --utils.check_ce_var_v2",
        f"{KD} {TWO_VIEWS} --mix_mode randaugment+cutmix --mix_draw sample",
        f"{VIEW} {FEATURES}",
        *(f"{PICKS} {criterion}" for criterion in pick_criteria),
    ],
)
def test_steps(words):
    there, here = (means_of(f"{words} {EXACT}", device) for device in (DEVICE, "cpu"))
    assert not differences(there, here, relative=2e-3)


@pytest.mark.parametrize("words", ["", "--amp"])
def test_steps_of_usual_precision(words):
    """With TF32 in convolutions, or bfloat16: near the CPU's float32, and not equal to it."""
    there, here = (means_of(f"{VIEW} {more}", d, 2) for d, more in ((DEVICE, words), ("cpu", "")))
    losses = [{k: v for k, v in one.items() if "acc" not in k} for one in (there, here)]
    assert not differences(*losses, relative=0.1 if words else 0.02, absolute=0.02)
    assert there["loss"] != here["loss"]


@pytest.mark.parametrize("words", [VIEW, f"{PICKS} student_entropy {FEATURES}"])
@pytest.mark.timeout(300)
def test_compiled_steps(words, compiler):
    """CUDA graphs, whose outputs the next call may overwrite."""
    there = means_of(f"{words} {EXACT} --compile", DEVICE, steps=6)
    assert not differences(there, means_of(f"{words} {EXACT}", DEVICE, steps=6), relative=5e-3)


@pytest.mark.timeout(300)
def test_many_compiled_steps_with_amp(compiler):
    """Picks, features and short batches; then the same programs in evaluation."""
    words = f"{PICKS} teacher_entropy {FEATURES} --amp --limit_train 28"
    compiled, plain = (means_of(f"{words} {more}", DEVICE, 20) for more in ("--compile", ""))
    assert compiled["loss"] == pytest.approx(plain["loss"], rel=0.1)


def test_tf32_is_where_the_precision_says():
    """Relative errors of a convolution and of a matrix product, to float64."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 64, 16, 16, generator=generator).to(DEVICE)
    weight = torch.randn(64, 64, 3, 3, generator=generator).to(DEVICE)
    one, other = (torch.randn(512, 512, generator=generator).to(DEVICE) for _ in range(2))

    def errors():
        results = []
        for product, *given in ((torch.conv2d, images, weight), (torch.matmul, one, other)):
            exact = product(*(tensor.double() for tensor in given))
            results.append(float((product(*given) - exact).abs().max() / exact.abs().max()))
        return [error > 3e-5 for error in results]

    found = {}
    for precision in ("default", "highest", "high"):
        select_device(DEVICE, precision)
        found[precision] = errors()
    assert found == {"default": [True, False], "highest": [False, False], "high": [True, True]}


# --- Views and picks ------------------------------------------------------------------------------


def images(count=8):
    values = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return values.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("draw", ["batch", "sample"])
@pytest.mark.parametrize("mode", [*mix_modes, "cutout:p=0.5+cutmix:p=0.5", "tv.RandomInvert:p=0.5"])
def test_views(mode, draw):
    """A byte may be rounded otherwise; a hundredth of the values at the most. No wait."""
    augment = build(mode, SPEC, MixSettings(draw=draw))
    on_device = images().to(DEVICE)
    augment(on_device, torch.Generator().manual_seed(2))  # constants are copied once
    torch.cuda.set_sync_debug_mode("error")
    there = augment(on_device, torch.Generator().manual_seed(2))
    torch.cuda.set_sync_debug_mode("default")
    here = build(mode, SPEC, MixSettings(draw=draw))(images(), torch.Generator().manual_seed(2))
    for name in ("partner", "lam", "source", "shares"):
        one, other = getattr(there, name), getattr(here, name)
        assert (one is None) == (other is None), name
        if other is not None:
            assert torch.allclose(torch.as_tensor(one).cpu(), torch.as_tensor(other)), name
    is_far = (there.images.cpu() - here.images).abs() > 1e-3
    assert float(is_far.float().mean()) < 0.01


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_of_autoaugment(name):
    """`test_views` draws but a few of them."""
    pixels = torch.randint(256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(1))
    pixels = pixels.to(torch.uint8)
    operation = Operation([name], torch.tensor([0.3], dtype=torch.float64))
    on_device = pixels.to(DEVICE)
    torch.cuda.set_sync_debug_mode("error")
    there = operate(on_device, operation)
    torch.cuda.set_sync_debug_mode("default")
    far = (there.cpu().int() - operate(pixels, operation).int()).abs() > 0
    assert float(far.float().mean()) < 0.01


@pytest.mark.parametrize("name", pick_criteria)
def test_picks(name):
    generator = torch.Generator().manual_seed(1)
    logits = [torch.randn(rows, CLASSES, generator=generator) for rows in (16, 16, 8)]
    pick = Pick(pick_criteria[name], 8, 4.0)
    kept = pick(PoolLogits(*(one.to(DEVICE) for one in logits)))
    assert torch.equal(kept.cpu(), pick(PoolLogits(*logits)))


# --- Networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", model_dict)
def test_networks(name):
    """Features, logits and, last, the gradient, in training mode.

    The errors are relative, to the CPU's float64. In float32 the first two may be 10 times those of
    the CPU. The gradient jumps, by up to 0.04 on a CPU as well, where rounding changes the sign of
    what enters a ReLU; float64 keeps the signs.
    """
    device = select_device(DEVICE, "highest")
    generator = torch.Generator().manual_seed(0)
    network = build_model(name, num_classes=CLASSES, img_size=32, generator=generator)
    inputs = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    def outputs(place, dtype):
        network.to(place, dtype).zero_grad(set_to_none=True)
        features, logits = network(inputs.to(place, dtype), is_feat=True)
        logits.square().sum().backward()
        gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        results = [*features, logits, torch.cat(gradients)]
        return [one.detach().double().cpu() for one in results]

    places = (("cpu", torch.float32), (device, torch.float32), (device, torch.float64))
    results = [outputs(place, dtype) for place, dtype in places]
    exact = outputs("cpu", torch.float64)
    of_cpu, single, double = (
        [float((one - other).norm() / other.norm()) for one, other in zip(result, exact)]
        for result in results
    )
    assert max(double) < 1e-6, double
    too_far = [(a, b) for a, b in zip(single[:-1], of_cpu) if a > max(10 * b, 1e-4)]
    assert not too_far, too_far
    assert single[-1] < 0.2, single


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize(
    "name", ["resnet14", "resnet8x4", "vgg8", "wrn_16_2", "MobileNetV2", "ShuffleV2", "ResNet50"]
)
def test_the_faster_copy_of_a_teacher_is_taken(name, amp):
    device = select_device(DEVICE)
    generator = torch.Generator().manual_seed(0)
    network = freeze(build_model(name, num_classes=CLASSES, img_size=32, generator=generator))
    inputs = torch.randn(16, 3, 32, 32, generator=generator)
    expected = network(inputs)
    copy = frozen_copy(network.to(device), 32, amp=amp)
    assert type(copy) is FrozenCopy
    far = (copy(inputs.to(device)).cpu() - expected).norm() / expected.norm()
    assert float(far) < (0.1 if amp else 0.01)


# --- The T. stddev pass ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "relative"),
    [
        ("--mix_mode cutmix --utils.check_ce_var", 1e-5),
        ("--mix_mode autoaugment+mixup --utils.check_ce_var", 1e-2),
        ("--mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion teacher_entropy"
         " --utils.check_ce_var", 1e-5),
        ("--mix_mode cutmix --utils.check_ce_var_v2", 1e-4),
        ("--mix_mode cutmix --utils.check_ce_var_v3", 1e-3),
        ("--mix_mode cutmix --utils.check_ce_var --amp", 0.05),
    ],
)  # fmt: skip
def test_a_pass_measures_what_the_cpu_measures(words, relative):
    path_t = write_sharp_network()
    words += f" {TINY} {PASS} --model_s resnet8 {EXACT} --finetune_student "
    words += str(write_sharp_network("resnet8"))
    there, here = (measure(open_loop(path_t, words, device), 10) for device in (DEVICE, "cpu"))
    assert all(abs(value) > 0 for value in here.values()), here
    assert not differences(there, here, relative=relative, absolute=1e-9)


# --- Waits ----------------------------------------------------------------------------------------


def watched(stream, first, last):
    """The stream; from batch `first` on, until batch `last` is asked for, a wait is an error."""
    for index, batch in enumerate(stream):
        if index == last:
            torch.cuda.set_sync_debug_mode("default")
        yield batch
        if index + 1 == first:
            torch.cuda.set_sync_debug_mode("error")


def run_watched(words, first, last):
    """A loop of `last` + 1 steps: their lines of log.txt are in the first and the last."""
    loop = open_loop(write_network(Path()), words, DEVICE)
    go = functools.partial(measure, loop) if "--fix_student" in words else loop.run
    go(last + 1)  # kernels are loaded, constants copied
    loop.stream = watched(loop.stream, first, last)
    try:
        go(last + 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_wait_is_an_error_there():
    torch.cuda.set_sync_debug_mode("error")
    with pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones(2, device=DEVICE).sum().item()


@pytest.mark.parametrize(
    "words",
    [
        KD,
        VIEW,
        f"{VIEW} --amp",
        f"{PICKS} teacher_entropy",
        f"{PICKS} student_entropy",
        f"{KD} {TWO_VIEWS} --mix_mode autoaugment+mixup --mix_draw sample",
        f"{VIEW} {FEATURES}",
        f"{VIEW} --distill crd --nce_k 8",
        f"{VIEW} --distill dkd+review",
    ],
)
def test_no_wait_between_two_log_lines(words):
    run_watched(words, first=1, last=5)


@pytest.mark.parametrize("group", GROUPS)
def test_no_wait_for_a_distiller(group):
    names = [name for name in GROUPS[group] if name not in WAITS_ON_PURPOSE]
    run_watched(distilled(names), first=1, last=5)


def test_no_wait_for_the_statistics_of_views():
    statistics = ViewStatistics(CLASSES, DEVICE)
    clean, view, mixed = torch.randn(3, 8, CLASSES, device=DEVICE).softmax(dim=2)
    for mode in ("default", "error"):
        torch.cuda.set_sync_debug_mode(mode)
        for _ in range(6):
            statistics.update(clean, view, mixed)


@pytest.mark.parametrize("check", ["check_ce_var", "check_ce_var_v3"])
@pytest.mark.parametrize("mode", ["cutmix", "cutmix_pick --mix_n_run 2", "mixup --mix_draw sample"])
def test_no_wait_within_a_group(mode, check):
    """A group has five steps; the line of the first is written in the fifth."""
    student = write_network(Path(), "resnet8")
    words = f"{TINY} {PASS} --utils.{check} --mix_mode {mode} --model_s resnet8"
    run_watched(f"{words} --finetune_student {student}", first=5, last=9)


def test_no_wait_for_a_trained_teacher():
    """As train_teacher.py trains, with the usual augmentations of labels."""
    device = select_device(DEVICE)
    generator = torch.Generator().manual_seed(0)
    network = build_model("resnet8", num_classes=CLASSES, img_size=16, generator=generator)
    step = LabelStep(network.to(device), build("cutmix", SPEC, MixSettings()), generator)
    batch = images().to(device), torch.arange(8, device=device) % CLASSES
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, fused=True)
    for mode in ("default", "error"):
        torch.cuda.set_sync_debug_mode(mode)
        optimizer.zero_grad()
        step.weights.total(step(*batch, batch[1])[0]).backward()
        optimizer.step()
