"""The student on both views at once: what two calls in turn give, whatever the threads do."""

import dataclasses

import pytest
import torch
from command_line import TINY, identical, load, metrics, new_run, run, the_run
from torch import nn

from helper import speed
from helper.speed import cores
from helper.speed.both_views import BothViews
from helper.step.passes import student_passes
from models import build_model

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
pytestmark = pytest.mark.usefixtures("empty_folder")
PICK = "cutmix_pick --mix_n_run 2 --cutmix_pick_criterion student_entropy"
WORDS = f"{TINY} --seed 3 --print_interval 2"


@pytest.fixture(autouse=True)
def two_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def network(name):
    return build_model(
        name, num_classes=7, img_size=32, generator=torch.Generator().manual_seed(1)
    ).train()


def batches():
    """The first view has five images, the second, as a pick may leave it, three."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(count, 3, 32, 32, generator=generator, dtype=torch.float64) for count in (5, 3)
    ]


def descended(model, see):
    """Two steps. (logits of all, gradients of the last, buffers)"""
    seen = []
    for _ in range(2):
        model.zero_grad()
        logits = see(*batches())
        sum((each.cos() * weight).sum() for weight, each in enumerate(logits, 1)).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 1e-3 * parameter.grad
        seen += [each.detach() for each in logits]
    return seen, [parameter.grad for parameter in model.parameters()], dict(model.named_buffers())


# The large ones have no other layers than the small ones of their family.
@pytest.mark.parametrize(
    "name",
    [
        "resnet8",
        "wrn_16_1",
        "MobileNetV2_0_25",
        "ShuffleV2_0_3",
    ],
)
def test_two_calls_in_turn(name):
    at_once, in_turn = network(name).double(), network(name).double()
    assert BothViews.suits(at_once)
    got = descended(at_once, BothViews(at_once))
    wanted = descended(in_turn, lambda images, view: (in_turn(images), in_turn(view)))
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("both_at_once", [True, False])
def test_statistics_of_the_first_view_alone(both_at_once):
    model, plain, one_pass = (network("resnet8").double() for _ in range(3))
    twin = BothViews(model, keeps_view_statistics=False) if both_at_once else None
    passes = student_passes(model, statistics_of="first", both_views=twin)

    def step(see):
        logits = see(*batches())
        sum(each.cos().sum() for each in logits).backward()
        return logits

    got = step(lambda *views: [logits for logits, _ in passes(*views)])
    wanted = step(lambda *views: [plain(view) for view in views])
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    for at_once, in_turn in zip(model.parameters(), plain.parameters()):
        torch.testing.assert_close(at_once.grad, in_turn.grad, rtol=1e-9, atol=1e-9)
    one_pass(batches()[0])
    torch.testing.assert_close(
        dict(model.named_buffers()), dict(one_pass.named_buffers()), rtol=1e-9, atol=1e-9
    )


def test_where_it_suits():
    def model(*layers):
        return nn.Sequential(nn.Conv2d(3, 4, 3), *layers)

    assert BothViews.suits(model(nn.BatchNorm2d(4), nn.ReLU()))
    for layer in (
        nn.Dropout(0.1),
        nn.BatchNorm2d(4, momentum=None),
        nn.InstanceNorm2d(4, track_running_stats=True),
    ):
        assert not BothViews.suits(model(layer)), layer
    compiled = model()
    compiled.compile()
    assert not BothViews.suits(compiled)
    torch.set_num_threads(3)
    assert not BothViews.suits(model())


@pytest.mark.parametrize(("here", "count", "each"), [(2, 2, 1), (4, 2, 2), (3, 3, 1), (2, 3, 1)])
def test_workers_share_the_cores(here, count, each):
    """A thread takes the process's default when it first computes: here in `sum`, after it was told
    its share."""
    torch.set_num_threads(here)
    images = torch.ones(2**16)
    for _ in range(3):
        pool = cores.workers(count)
        sums = pool.map(lambda _: (float(images.sum()), torch.get_num_threads()), range(4 * count))
        assert set(sums) == {(2.0**16, each)}
        assert torch.get_num_threads() == here


def test_a_fault_in_a_thread_is_raised_here():
    with pytest.raises(RuntimeError, match="expected input"):
        BothViews(network("resnet8"))(torch.ones(2, 3, 32, 32), torch.ones(2, 4, 32, 32))


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "precision"), [("cutmix", "--amp"), (PICK, "")])
def test_a_resumed_run_is_the_whole_one(monkeypatch, tiny_teacher, scheme, precision):
    used, real = [], BothViews.__call__

    def see(self, images, view, *, amp=False):
        used.append(amp)
        return real(self, images, view, amp=amp)

    monkeypatch.setattr(BothViews, "__call__", see)
    words = (
        f"{WORDS} --path_t {tiny_teacher} --model_s resnet8 --distill dkd --lw_mix [1,0.5,1] "
        f"--mix_mode {scheme} {precision}"
    )
    whole = new_run(STUDENT, words, "--epochs 2 --debug", root="Debug_Dir")
    run(STUDENT, words, "--epochs 1")
    run(STUDENT, words, "--epochs 2 --resume_ExpID latest")
    assert used == [bool(precision)] * 12
    assert identical(*(load(path / "weights" / "ckpt.pth") for path in (the_run(), whole)))


@pytest.mark.parametrize("words", ["--distill hint", "--distill kd+attention", ""])
def test_not_for_features_nor_for_one_view(monkeypatch, tiny_teacher, words):
    monkeypatch.setattr(BothViews, "__call__", None)
    views = "--lw_mix [1,0,1] --mix_mode cutmix" if words else ""
    run(STUDENT, WORDS, f"--path_t {tiny_teacher} --model_s resnet8 --epochs 1 {views} {words}")


def test_when_the_student_sees_both_at_once():
    wanted = speed.Wanted(32, 64, amp=False, compiles=False, sees_both_views=True)
    student = network("resnet8")
    assert isinstance(speed.prepare(None, student, wanted).both_views, BothViews)
    for other in ({"preacts": (False,)}, {"sees_both_views": False}):
        assert speed.prepare(None, student, dataclasses.replace(wanted, **other)).both_views is None


TWO_VIEWS = "--model_s resnet8 --lw_mix [1,0,1] --mix_mode"
PASS = "--learning_rate 0 --fix_student --utils.ON --utils.check_ce_var"
JOBS = {
    "teacher": (TEACHER, "--model resnet8"),
    "kd": (STUDENT, f"{TWO_VIEWS} cutmix --distill kd --compile"),
    "crd": (STUDENT, f"{TWO_VIEWS} cutmix --distill crd -b 0.8 --nce_k 8"),
    "pick": (STUDENT, f"{TWO_VIEWS} {PICK} --distill kd"),
    "stddev": (STUDENT, f"{TWO_VIEWS} cutmix {PASS}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_runs_without_this_room(monkeypatch, tiny_teacher, job):
    """Nothing of it is called. The numbers are the same up to rounding; a resumed run is whole."""
    program, words = JOBS[job]
    words = f"{WORDS} {words}" + (f" --path_t {tiny_teacher}" if program == STUDENT else "")
    fast = None if "--compile" in words else first_result(new_run(program, words, "--epochs 1"))
    monkeypatch.setenv("DATA_AUG_KD_PLAIN", "1")
    for name in ("BothViews", "frozen_copy", "in_fast_layout", "bfloat16", "compiled", "memory"):
        monkeypatch.setattr(speed, name, None)
    whole = new_run(program, words, "--epochs 2 --debug", root="Debug_Dir")
    part = new_run(program, words, "--epochs 1 --note part")
    if fast is not None:
        assert first_result(part) == pytest.approx(fast, rel=1e-3)
    run(program, words, f"--epochs 2 --resume_ExpID {part.name}")
    assert identical(*(load(path / "weights" / "ckpt.pth") for path in (part, whole)))


def first_result(path):
    """The first epoch's training loss, or the T. stddev that the pass found."""
    found = [line for line in metrics(path) if line["kind"] in ("train", "summary")]
    return found[-1]["t_stddev"] if "t_stddev" in found[-1] else found[0]["loss"]
