"""The student on both views at once: what two calls in turn give, whatever the threads do."""

import pytest
import torch
from command_line import identical, load, new_run, run, the_run
from torch import nn

from helper import both_views, build, cores
from helper.both_views import BothViews
from helper.engine import DistillStep
from helper.model_info import count_parameters
from models import build_model, model_dict

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
    return build_model(name, num_classes=7, img_size=32, generator=torch.Generator().manual_seed(1)).train()


def batches():
    """The first view has five images, the second, as a pick may leave it, three."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, 3, 32, 32, generator=generator, dtype=torch.float64) for count in (5, 3)]


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


# The large ones have no other layers than the small ones.
@pytest.mark.parametrize("name", [name for name in model_dict if count_parameters(network(name)) < 5e6])
def test_two_calls_in_turn(name):
    ours, theirs = network(name).double(), network(name).double()
    assert BothViews.suits(ours, CPU)
    got = descended(ours, BothViews(ours))
    wanted = descended(theirs, lambda images, view: (theirs(images), theirs(view)))
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_where_it_suits(monkeypatch):
    def model(*layers):
        return nn.Sequential(nn.Conv2d(3, 4, 3), *layers)

    assert BothViews.suits(model(nn.BatchNorm2d(4), nn.ReLU()), CPU)
    assert not BothViews.suits(model(), torch.device("cuda"))
    for layer in (nn.Dropout(0.1), nn.BatchNorm2d(4, momentum=None), nn.InstanceNorm2d(4, track_running_stats=True)):
        assert not BothViews.suits(model(layer), CPU), layer
    compiled = model()
    compiled.compile()
    assert not BothViews.suits(compiled, CPU)
    torch.set_num_threads(3)
    assert not BothViews.suits(model(), CPU)
    torch.set_num_threads(2)
    monkeypatch.setattr(both_views.distributed, "size", lambda: 2)
    assert not BothViews.suits(model(), CPU)


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
@pytest.mark.parametrize("scheme", ["cutmix", "cutmix_pick --mix_n_run 2 --cutmix_pick_criterion student_entropy"])
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


def test_more_views_than_one_are_wanted(monkeypatch):
    model = network("resnet8")
    options = build.argparse.Namespace(lw_mix=(1.0, 0.0, 1.0))
    assert isinstance(build.make_both_views(options, model, CPU, ()), BothViews)
    assert build.make_both_views(options, model, CPU, (False,)) is None
