"""Three real optimisation steps for each of 13 settings, against golden/steps.json.

The recorded random draws are replayed through `apply`; losses, weights and BatchNorm sums must
follow. Three of our choices differ from the original's. Students score without a trace, and
mixed-label CE and KD share one forward pass: the tests add the original's extra passes by hand and
then find its BatchNorm sums. flip and crop do not darken pixels on the way: the tests darken them
first, by the recorded table.
"""

import json

import numpy as np
import pytest
import torch
from places import GOLDEN
from recipe import load_recipe
from watching import Watching

from augment import MixSettings, Pick, mix_modes, pick_criteria
from augment.draws import centred_boxes, cut_side
from augment.cutmix import CutMixDraw
from augment.cutout import HoleDraw
from augment.geometric import ShiftDraw
from augment.mixup import MixUpDraw
from dataset import DataRequest, datasets
from dataset.batches import Normalize
from distiller_zoo import Setting
from distiller_zoo.kd import KD
from helper.loop.training import describe_terms
from helper.step.distill import DistillStep, loss_weights
from helper.step.networks import freeze
from helper.step.passes import ViewMaker, student_passes
from models import model_dict

CASES = json.loads((GOLDEN / "steps.json").read_text())["cases"]
ARRAYS = np.load(GOLDEN / "steps.npz")
SPEC = datasets["cifar100"].spec(DataRequest())
STEPS = (1, 2, 3)


class Replay:
    """A mix mode whose `sample` hands out recorded draws."""

    def __init__(self, augment, draws, *, darken):
        self.augment, self.draws, self.darken = augment, iter(draws), darken

    def __call__(self, images, generator):
        return self.augment.apply(darkened(images) if self.darken else images, next(self.draws))


def darkened(images):
    """Images after the original's cut to uint8, which lowers some byte values by one."""
    normalize = Normalize(SPEC)
    table = torch.from_numpy(np.load(GOLDEN / "da.npz")["uint8_roundtrip/cifar100"])  # (3, 256)
    channel = torch.arange(3).view(1, 3, 1, 1)
    pixels = table[channel, normalize.undo(images).long()]  # (B, 3, H, W)
    return normalize(pixels.permute(0, 2, 3, 1))


class InDouble(torch.nn.Module):
    """A float64 network on float32 images, as recorded."""

    def __init__(self, name):
        super().__init__()
        self.network = load_recipe(model_dict[name](num_classes=100), gain=1.0).double()

    def forward(self, images):
        return self.network(images.double())


def batch(step):
    pixels = np.random.RandomState(40 + step).randint(0, 256, (8, 3, 32, 32)).astype(np.uint8)
    images = torch.from_numpy(pixels).float() / 255
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (SPEC.mean, SPEC.std))
    labels = torch.from_numpy(np.random.RandomState(50 + step).randint(0, 100, 8))
    return (images - mean) / std, labels


def read_draws(mode, recorded):
    """One step's log of calls to the random functions, as our draws."""
    log = list(recorded)

    def take(name):
        assert log[0][0] == name
        return log.pop(0)[1]

    def cutmix():
        lam = torch.tensor([take("beta")], dtype=torch.float64)
        x, y = torch.tensor([take("np.randint")]), torch.tensor([take("np.randint")])
        half = cut_side(lam, 32) // 2
        boxes = centred_boxes(x, y, half, half, height=32, width=32)
        partner = torch.tensor(take("randperm"))
        while (partner == torch.arange(8)).any():
            partner = torch.tensor(take("randperm"))
        return CutMixDraw(boxes, partner)

    zero = torch.zeros(1, dtype=torch.long)
    if mode in ("flip", "crop+flip"):
        top, left = zero, zero
        if mode == "crop+flip":
            top, left = (torch.tensor([offset - 4]) for offset in take("RandomCrop")[:2])
        draw = ShiftDraw(top, left, torch.tensor([take("torch.rand")[0] < 0.5]))
    elif mode == "cutout":
        draw = HoleDraw(*(torch.tensor([take("np.randint")]) for _ in range(2)))
    elif mode == "mixup":
        draw = MixUpDraw(torch.tensor([take("beta")]).double(), torch.tensor(take("randperm")))
    elif mode == "cutmix":
        draw = cutmix()
    elif mode == "cutmix_pick":
        draw = [cutmix(), cutmix()]
    else:
        draw = ShiftDraw(zero, zero, zero.bool())
    assert not log, "a recorded draw was not used"
    return draw


def build_step(options, recorded_steps):
    teacher, student = freeze(InDouble("resnet14")), InDouble("resnet8")
    mode, lw_mix = options["mix_mode"], options.get("lw_mix", [1.0, 0.0, 1.0])
    augment = pick = None
    if mode is None:
        lw_mix = None
    else:
        augment = Replay(
            mix_modes[mode](SPEC, MixSettings()),
            [read_draws(mode, step["draws"]) for step in recorded_steps],
            darken=mode in ("flip", "crop+flip"),
        )
    if mode == "cutmix_pick":
        pick = Pick(pick_criteria[options["cutmix_pick_criterion"]], options["n_pick"], 4.0)
    teacher_target = options.get("t_output_as_target_for_input_mix", True)
    views = ViewMaker(
        teacher, augment, None, pick=pick, student=student, teacher_sees_view=teacher_target
    )
    weights = loss_weights(0.1, {"kd": 0.9}, lw_mix=None if lw_mix is None else tuple(lw_mix))
    passes, kd = student_passes(student), {"kd": KD(Setting())}
    step = DistillStep(views, passes, kd, {}, weights, teacher_target=teacher_target)
    step.network = student
    return step


def original_extra_passes(name, step, seen_images):
    """Forward passes of the original that this code saves; they touch BatchNorm's running sums and
    nothing else."""
    if CASES[name]["options"].get("lw_mix") == [1.0, 1.0, 1.0]:
        with torch.no_grad():
            step.network(seen_images)


def in_order_of_the_original(step, images, pool, view):
    """Passes that scored a pool in training mode came between the two views' passes: redo all
    three."""
    with torch.no_grad():
        for seen in (images, pool, view):
            step.network(seen)


@pytest.mark.parametrize("name", CASES)
def test_three_steps_follow_the_original(name):
    golden = CASES[name]["f64_models"]["steps"]
    step = build_step(CASES[name]["options"], golden)
    optimizer = torch.optim.SGD(step.network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    scores_with_student = CASES[name]["options"].get("cutmix_pick_criterion") in (
        "student_entropy",
        "kld",
    )
    seen = {}
    step.observers = [Watching(lambda images, views: seen.update(images=images, view=views.view))]
    for number, expected in zip(STEPS, golden):
        images, labels = batch(number)
        before = {key: value.clone() for key, value in step.network.state_dict().items()}
        if scores_with_student:
            pool = watch_pool(step)
        losses, _ = step(images, labels, torch.arange(8))
        total = step.weights.total(losses)
        optimizer.zero_grad()
        total.backward()
        if scores_with_student:
            running = {
                key: value for key, value in before.items() if "running" in key or "batches" in key
            }
            step.network.load_state_dict({**step.network.state_dict(), **running})
            in_order_of_the_original(step, images, pool[0], seen["view"].images)
        elif seen["view"] is not None:
            original_extra_passes(name, step, seen["view"].images)
        optimizer.step()
        check_step(name, number, expected, step, losses, total, seen["view"])
    images, _ = batch(3)
    eval_logits = step.network.eval()(images)
    expected = ARRAYS[f"{name}/final_eval_logits_batch3"]
    assert np.abs(eval_logits.detach().numpy() - expected).max() <= 3e-6 * np.abs(expected).max()
    teacher_norm = step.views.teacher.network.bn1
    assert int(teacher_norm.num_batches_tracked) == 0


def watch_pool(step):
    """Collects the pool that the next step makes."""
    pool, augment = [], step.views.augment

    def make(images, generator):
        view = augment(images, generator)
        pool.append(view.images)
        step.views.augment = augment
        return view

    step.views.augment = make
    return pool


def check_step(name, number, expected, step, losses, total, view):
    def close(value, reference, tolerance=3e-6):
        assert float(value) == pytest.approx(reference, rel=tolerance, abs=tolerance), name

    student = step.network.network
    close(total.detach(), expected["total_loss"])
    printed = describe_terms(
        step.weights, {key: float(value.detach()) for key, value in losses.items()}
    )
    words = zip(printed.split(), expected["printed_terms"].split())
    for word, recorded_word in words:  # names to the letter, numbers to the last printed digits
        if recorded_word[0].isdigit():
            close(float(word), float(recorded_word))
        else:
            assert word == recorded_word
    assert len(printed.split()) == len(expected["printed_terms"].split())
    norms = [m for m in student.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert int(student.bn1.num_batches_tracked) == expected["bn1.num_batches_tracked"]
    close(sum(m.running_mean.sum() for m in norms), expected["sum_running_mean"])
    close(sum(m.running_var.sum() for m in norms), expected["sum_running_var"])
    close(sum(p.detach().square().sum() for p in student.parameters()), expected["param_sq_norm"])
    close(checksum(student.conv1.weight), expected["conv1_dot"])
    close(checksum(student.fc.bias), expected["fc_bias_dot"])
    if view is not None:
        mixed = ARRAYS[f"{name}/step{number}/mixed_first2"]
        assert np.abs(view.images[:2].numpy() - mixed).max() <= 1e-6


def checksum(tensor):
    values = tensor.detach().double().numpy()
    return float((values * np.random.RandomState(99).standard_normal(values.shape)).sum())


@pytest.mark.parametrize("name", CASES)
def test_float32_losses_follow_the_original(name):
    expected = CASES[name]["f32"]
    golden = CASES[name]["f64_models"]["steps"]
    step = build_step(CASES[name]["options"], golden)
    step.network.network.float()
    step.views.teacher.network.float()
    InDouble.forward, forward = (lambda self, images: self.network(images)), InDouble.forward
    try:
        optimizer = torch.optim.SGD(
            step.network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4
        )
        for number, wanted, norm in zip(STEPS, expected["total_loss"], expected["param_sq_norm"]):
            losses, _ = step(*batch(number), torch.arange(8))
            total = step.weights.total(losses)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            assert float(total.detach()) == pytest.approx(wanted, rel=2e-5)
            squares = sum(p.detach().double().square().sum() for p in step.network.parameters())
            assert float(squares) == pytest.approx(norm, rel=1e-6)
    finally:
        InDouble.forward = forward
