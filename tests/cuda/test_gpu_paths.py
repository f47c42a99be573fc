"""The code that runs on a GPU, on a pretended one: the CPU's results, no tensor on a wrong device,
no wait of the host that is not documented."""

from pathlib import Path

import pytest
import torch
from command_line import identical, load, metrics, new_run, run, the_run
from fake_gpu import GPU, GpuTensor, seen
from gpu_loops import (
    CLASSES,
    GROUPS,
    PASS,
    TINY,
    TWO_VIEWS,
    WAITS_ON_PURPOSE,
    measure,
    open_loop,
    stopped_after,
    write_network,
)

from augment import MixSettings, Pick, PoolLogits, build, mix_modes, pick_criteria
from augment.operations import OPERATIONS, Operation, operate
from dataset.synthetic import synthetic_spec
from helper.loop.metrics import evaluate
from helper.speed.frozen import FrozenCopy, frozen_copy
from helper.step.networks import freeze
from helper.step.view_stats import step_sums
from models import build_model, model_dict

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
pytestmark = pytest.mark.usefixtures("empty_folder")
SPEC = synthetic_spec(CLASSES, 16)


def test_a_wrong_device_is_an_error(gpu):
    there, here = torch.ones(4, device="cuda"), torch.ones(4)
    linear = torch.nn.Linear(4, 4).to("cuda")
    for wrong in (
        lambda: there + here,
        lambda: torch.cat([there, here]),
        lambda: linear(here),
        lambda: torch.rand(3, device="cuda", generator=torch.Generator()),
        lambda: there.numpy(),
    ):
        with pytest.raises((RuntimeError, TypeError)):
            wrong()


def test_waits_and_launches_are_seen(gpu):
    there, here = torch.ones(4, device="cuda"), torch.ones(4)
    for waits, launches, call in (
        (1, 2, lambda: there.sum().item()),
        (1, 0, lambda: there.tolist()),
        (1, 0, lambda: there.cpu()),
        (1, 2, lambda: there[there > 0]),
        (0, 3, lambda: there.clone().__setitem__(there > 0, 2.0)),
        (1, 2, lambda: there.clone().__setitem__(0, 2.0)),
        (0, 2, lambda: there.clone().__setitem__(slice(1), 2.0)),
        (1, 1, lambda: there.new_tensor([1.0, 2.0])),
        (1, 1, lambda: here.to("cuda")),
        (0, 1, lambda: here.to("cuda", non_blocking=True)),
        (1, 1, lambda: torch.tensor([1.0], device="cuda")),
        (1, 1, lambda: there[torch.tensor([0])]),
        (0, 3, lambda: (there * 2 + 1).view(2, 2)[0].sum()),
    ):
        gpu.clear()
        call()
        assert (sum(gpu.waits.values()), sum(gpu.launches.values())) == (waits, launches)


def images(count=8):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1)).to(
        memory_format=torch.channels_last
    )


@pytest.mark.parametrize("draw", ["batch", "sample"])
@pytest.mark.parametrize("mode", [*mix_modes, "cutout:p=0.5+cutmix:p=0.5", "tv.RandomInvert:p=0.5"])
def test_a_view_is_the_cpus(mode, draw, gpu):
    augment = build(mode, SPEC, MixSettings(draw=draw))
    there = images().to(GPU)
    augment(there, torch.Generator().manual_seed(2))  # constants are copied once
    gpu.clear()
    view = augment(there, torch.Generator().manual_seed(2))
    taken = view.take(torch.arange(8, device=GPU))
    assert not gpu.waits
    expected = augment(images(), torch.Generator().manual_seed(2))
    for name in ("images", "partner", "lam", "source", "shares"):
        one, other = getattr(view, name), getattr(expected, name)
        assert one is None if other is None else torch.equal(one.cpu(), other)
    for seen_images in (torch.cat([there, view.images]), taken.images):
        assert seen_images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_of_autoaugment_is_the_cpus(name, gpu):
    """`test_a_view_is_the_cpus` draws but a few of them."""
    pixels = torch.randint(256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(1))
    pixels, strength = pixels.to(torch.uint8), torch.tensor([0.3], dtype=torch.float64)
    there = pixels.to(GPU)
    gpu.clear()
    changed = operate(there, Operation([name], strength))
    assert not gpu.waits
    assert torch.equal(changed.cpu(), operate(pixels, Operation([name], strength)))


def test_a_step_is_added_to_the_statistics_of_views(gpu):
    generator = torch.Generator().manual_seed(1)
    clean, view, mixed = torch.randn(3, 8, CLASSES, generator=generator).softmax(dim=2)
    parts = [one.to(GPU) for one in (clean, view, mixed)]
    gpu.clear()
    sums = step_sums(*parts)
    assert not gpu.waits
    assert torch.equal(sums.cpu(), step_sums(clean, view, mixed))


@pytest.mark.parametrize("name", pick_criteria)
def test_a_pick_keeps_the_same_views(name, gpu):
    generator = torch.Generator().manual_seed(1)
    logits = [torch.randn(rows, CLASSES, generator=generator) for rows in (16, 16, 8)]
    pick = Pick(pick_criteria[name], 8, 4.0)
    there = PoolLogits(*(one.to(GPU) for one in logits))
    gpu.clear()
    kept = pick(there)
    assert not gpu.waits
    assert torch.equal(kept.cpu(), pick(PoolLogits(*logits)))


def waits_of_a_step(loop):
    """Waits that come with each step; those of a loop's begin and end, and of a chunk of data, do
    not."""
    counts = []
    for steps in (2, 3):
        seen.waits.clear()
        loop.run(steps)
        counts.append(seen.waits.copy())
    return counts[1] - counts[0]


def assert_same_training(words, gpu, allowed=(), relative=2e-3):
    """The meters of a few steps on both devices, and no wait but the allowed."""
    path_t = write_network(Path())
    loops = [open_loop(path_t, f"{TINY} {words}", device) for device in ("cuda", "cpu")]
    means = []
    for loop in loops:
        loop.run(1)
        means.append(loop.task.state.meter.read()[1])
    there, here = means
    assert there.keys() == here.keys()
    assert there == pytest.approx(here, rel=relative, abs=1e-4)
    waits = waits_of_a_step(loops[0])
    assert not [line for line in waits if not line.startswith(tuple(allowed) or "-")], waits


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_distillers(group, gpu):
    names = GROUPS[group]
    allowed = [WAITS_ON_PURPOSE[name] for name in names if name in WAITS_ON_PURPOSE]
    words = f"{TWO_VIEWS} --mix_mode cutmix --model_s resnet8 --distill {'+'.join(names)}"
    words += " --nce_k 8 --feature_views both --init_epochs 0"
    assert_same_training(words, gpu, allowed)


@pytest.mark.parametrize(
    "words",
    [
        "",
        f"{TWO_VIEWS} --mix_mode cutmix_pick --mix_n_run 2",
        "--lw_mix [1,1,1] --mix_mode mixup --utils.check_ce_var --utils.check_ce_var_v2",
    ],
)
def test_a_step_of_kd(words, gpu):
    assert_same_training(f"--model_s resnet8 --distill kd {words}", gpu)


@pytest.mark.parametrize("check", ["check_ce_var", "check_ce_var_v2", "check_ce_var_v3"])
def test_a_pass_measures_what_the_cpu_measures(check, gpu):
    words = f"{TINY} {PASS} --utils.{check} --mix_mode cutmix --model_s resnet8"
    words += f" --finetune_student {write_network(Path(), 'resnet8')}"
    loops = {device: open_loop(write_network(Path()), words, device) for device in ("cuda", "cpu")}
    gpu.clear()
    assert measure(loops["cuda"], 10) == pytest.approx(measure(loops["cpu"], 10), rel=1e-4)
    waits = [gpu.waits.copy()]
    gpu.clear()
    measure(loops["cuda"], 5)
    waits.append(gpu.waits.copy())
    each = waits[0] - waits[1]
    assert sum(each.values()) <= 1, each  # the line of a group


def one_of_each_class():
    """A network of each class of models/."""
    firsts = {}
    for name in model_dict:
        firsts.setdefault(getattr(model_dict[name], "func", model_dict[name]), name)
    return list(firsts.values())


@pytest.mark.parametrize("name", one_of_each_class())
def test_networks(name, gpu):
    """On values that have shapes alone."""
    with torch.device("meta"):
        network = model_dict[name](num_classes=CLASSES, img_size=32)
    network._apply(lambda tensor: GpuTensor(tensor.detach()).requires_grad_(tensor.requires_grad))
    some = GpuTensor(torch.empty(2, 3, 32, 32, device="meta"))
    gpu.clear()
    features, logits = network(some, is_feat=True, preact=True)
    assert all(isinstance(one, GpuTensor) for one in features)
    logits.sum().backward()
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    assert gradients and all(isinstance(one, GpuTensor) for one in gradients)
    assert not gpu.waits


@pytest.mark.parametrize("amp", [False, True])
def test_a_teacher_is_copied_and_evaluated(amp, gpu):
    generator = torch.Generator().manual_seed(0)
    here = freeze(build_model("resnet8", num_classes=CLASSES, img_size=16, generator=generator))
    there = frozen_copy(here.to(GPU), 16, amp=amp)
    here = here.to("cpu")
    assert type(there) is FrozenCopy
    batches = [(images(4), torch.tensor([0, 1, 2, 3]), torch.arange(4))] * 3
    on_gpu = [tuple(one.to(GPU) for one in batch) for batch in batches]
    gpu.clear()
    result = evaluate(there, on_gpu, amp=amp)
    assert sum(gpu.waits.values()) == 2, gpu.waits  # zeros for the sums, and the end
    expected = evaluate(here, batches)
    assert result.loss == pytest.approx(expected.loss, rel=3e-2 if amp else 1e-4)


@pytest.mark.slow
def test_a_resumed_run_equals_the_whole_one(gpu, monkeypatch):
    words = f"--path_t {write_network(Path()).resolve()} {TINY} {TWO_VIEWS} --mix_mode cutmix"
    words += " --model_s resnet8 --distill factor --init_epochs 1 --epochs 2 --device cuda"
    whole = load(new_run(STUDENT, words) / "weights" / "ckpt.pth")
    Path("other").mkdir()
    monkeypatch.chdir("other")
    stopped_after(7, words, monkeypatch)
    run(STUDENT, words, "--resume_ExpID latest")
    resumed = load(the_run() / "weights" / "ckpt.pth")
    for part in ("model", "optimizer", "meter", "extra", "generators"):
        assert identical(whole[part], resumed[part]), part
    assert resumed["optimizer"]["param_groups"][0]["fused"]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_run_goes_on_on_the_other_device(devices, gpu):
    words = (
        f"--path_t {write_network(Path())} {TINY} {TWO_VIEWS} --mix_mode cutmix --model_s resnet8"
    )
    words += " --test_teacher --save_img_interval 1 --dev_split 0.25"
    run(STUDENT, words, f"--epochs 1 --device {devices[0]}")
    run(STUDENT, words, f"--epochs 2 --device {devices[1]} --resume_ExpID latest")
    assert [record["epoch"] for record in metrics(the_run(), "epoch")] == [1, 2]


@pytest.mark.parametrize("words", ["--mix_mode mixup", "--amp --label_smoothing 0.1"])
def test_a_teacher_is_trained(words, gpu):
    path = new_run(TEACHER, f"{TINY} --model resnet8 --epochs 1 --device cuda {words}")
    (epoch,) = metrics(path, "epoch")
    assert epoch["test_loss"] > 0
