"""The student on both views at once: what two calls in turn give, whatever the threads do."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from command_line import identical, load, new_run, run, the_run
from torch import nn

from dataset import DataRequest, datasets
from helper.cli.options import parse_student
from helper.setup import scene as build
from helper.speed import cores
from helper.speed.both_views import BothViews, kept_per_image
from helper.step.distill import DistillStep
from models import build_model

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
TINY = (
    "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 44 --limit_test 24 --batch_size 16 --device cpu "
    "--seed 3 --print_interval 2"
)
CPU = torch.device("cpu")


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
        "resnet8x4",
        "wrn_16_1",
        "wrn_16_2",
        "vgg8",
        "MobileNetV2_0_25",
        "ShuffleV1",
        "ShuffleV2_0_3",
    ],
)
def test_two_calls_in_turn(name):
    ours, theirs = network(name).double(), network(name).double()
    assert BothViews.suits(ours)
    got = descended(ours, BothViews(ours))
    wanted = descended(theirs, lambda images, view: (theirs(images), theirs(view)))
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


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
    """A thread takes the process's default when it first computes: here in `sum`, after it was told its share."""
    torch.set_num_threads(here)
    images = torch.ones(2**16)
    for _ in range(3):
        pool = cores.workers(count)
        sums = pool.map(lambda _: (float(images.sum()), torch.get_num_threads()), range(4 * count))
        assert set(sums) == {(2.0**16, each)}
        assert torch.get_num_threads() == here


def test_a_fault_in_a_thread_is_ours():
    with pytest.raises(RuntimeError, match="expected input"):
        BothViews(network("resnet8"))(torch.ones(2, 3, 32, 32), torch.ones(2, 4, 32, 32))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    root = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run(TEACHER, TINY, "--model resnet14 --epochs 1 --learning_rate 0.01")
    return root / "save" / "models" / "resnet14_vanilla" / "ckpt_epoch_1.pth"


@pytest.mark.parametrize("precision", ["", "--amp"])
@pytest.mark.parametrize(
    "scheme", ["cutmix", "cutmix_pick --mix_n_run 2 --cutmix_pick_criterion student_entropy"]
)
def test_a_resumed_run_is_the_whole_one(tmp_path, monkeypatch, teacher, scheme, precision):
    monkeypatch.chdir(tmp_path)
    used, real = [], BothViews.__call__

    def see(self, images, view, *, amp=False):
        used.append(amp)
        return real(self, images, view, amp=amp)

    monkeypatch.setattr(BothViews, "__call__", see)
    words = f"{TINY} --path_t {teacher} --model_s resnet8 --distill dkd --lw_mix [1,0.5,1] --mix_mode {scheme} {precision}"
    whole = new_run(STUDENT, words, "--epochs 2 --debug", root="Debug_Dir")
    run(STUDENT, words, "--epochs 1")
    run(STUDENT, words, "--epochs 2 --resume_ExpID latest")
    assert used == [bool(precision)] * 12
    assert identical(*(load(path / "weights" / "ckpt.pth") for path in (the_run(), whole)))


@pytest.mark.parametrize("words", ["--distill hint", "--distill kd+attention", ""])
def test_not_for_features_nor_for_one_view(tmp_path, monkeypatch, teacher, words):
    """They see the views in turn, or only the first."""
    monkeypatch.chdir(tmp_path)
    made, real = [], DistillStep.__init__

    def make(self, *args, **kwargs):
        made.append(kwargs["both_views"])
        real(self, *args, **kwargs)

    monkeypatch.setattr(DistillStep, "__init__", make)
    views = "--lw_mix [1,0,1] --mix_mode cutmix" if words else ""
    run(STUDENT, TINY, f"--path_t {teacher} --model_s resnet8 --epochs 1 {views} {words}")
    assert made == [None]


def passes(name, words, *, device=CPU, preacts=(), head=None):
    options = parse_student([*words.split(), "--path_t", "x.pth", "--model_s", name])
    methods = SimpleNamespace(preacts=preacts, head=head)
    return build.student_passes(options, network(name), methods, SPEC, device)


SPEC = datasets["cifar100"].spec(DataRequest(root=Path()))
TWO_VIEWS = "--dataset cifar100 --lw_mix [1,0,1] --mix_mode cutmix"


def test_when_the_student_sees_the_views(monkeypatch):
    assert isinstance(passes("resnet8", TWO_VIEWS).both_views, BothViews)
    assert passes("resnet8", TWO_VIEWS, preacts=(False,)) == build.StudentPasses()
    assert passes("resnet8", "--dataset cifar100") == build.StudentPasses()
    assert passes("resnet8", TWO_VIEWS, device=torch.device("cuda")) == build.StudentPasses()
    monkeypatch.setattr(build.distributed, "size", lambda: 2)
    assert passes("resnet8", TWO_VIEWS) == build.StudentPasses()


@pytest.mark.parametrize("preacts", [(), (True,)])
def test_in_turn_where_they_would_fill_the_memory(preacts):
    for name, words in (
        ("ShuffleV1", ""),
        ("ShuffleV1", "--batch_size 512"),
        ("resnet8", "--batch_size 512"),
    ):
        got = passes(name, f"{TWO_VIEWS} {words}", preacts=preacts)
        assert got.in_turn and got.both_views is None
        assert {p: g.shape for p, g in got.gradients.items()} == {p: p.shape for p in got.gradients}
        assert len(got.gradients) == len(list(network(name).parameters()))
    assert not passes("ShuffleV1", f"{TWO_VIEWS} --batch_size 16", preacts=preacts).in_turn
    assert not passes("ShuffleV1", "--dataset cifar100", preacts=preacts).in_turn
    assert passes("ShuffleV1", TWO_VIEWS, preacts=(True,), head=nn.Linear(1, 1)).gradients == {}


def test_what_a_pass_keeps():
    """Of 8x8 pixels: a convolution its 3 maps, ReLU its 5 and the linear layer its 5 values; the rest is no image's."""

    class Small(nn.Sequential):
        def forward(self, x, is_feat=False, preact=False):
            return super().forward(x)

    small = Small(
        nn.Conv2d(3, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 7)
    )
    values = 3 * 64 + 5 * 64 + 5
    assert kept_per_image(small, 8, amp=False) == pytest.approx(4 * values, rel=0.02)
    before = {name: value.clone() for name, value in network("ShuffleV2_0_3").state_dict().items()}
    model = network("ShuffleV2_0_3")
    whole, half = (kept_per_image(model, 32, amp=amp) for amp in (False, True))
    assert half == pytest.approx(whole / 2, rel=0.1)
    assert identical(dict(model.state_dict()), before) and all(
        p.grad is None for p in model.parameters()
    )


def test_a_resumed_run_in_turn_is_the_whole_one(tmp_path, monkeypatch, teacher):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "KEPT_AT_MOST", 0)
    parts, real = [], DistillStep.__call__

    def see(self, *batch):
        for number, part in enumerate(real(self, *batch)):
            parts.append(number)
            yield part

    monkeypatch.setattr(DistillStep, "__call__", see)
    words = f"{TINY} --path_t {teacher} --model_s resnet8 --distill kd+hint --lw_mix [1,0.5,1] --mix_mode mixup"
    whole = new_run(STUDENT, words, "--epochs 2 --debug", root="Debug_Dir")
    run(STUDENT, words, "--epochs 1")
    run(STUDENT, words, "--epochs 2 --resume_ExpID latest")
    assert parts == [0, 1] * 12
    assert identical(*(load(path / "weights" / "ckpt.pth") for path in (the_run(), whole)))
