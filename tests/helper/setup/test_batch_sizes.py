"""How many images go through a network at once: at the least in training, at the most in
evaluation."""

import pytest
import torch
from command_line import run

from helper.errors import UserError
from helper.processes import distributed
from helper.setup.batches import check_smallest_part, evaluation_batch_of
from models import build_model


def network(name):
    return build_model(name, num_classes=5, img_size=32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "count", "batch_size", "processes", "is_refused"),
    [
        ("vgg8", 65, 64, 1, False),  # maps of 4x4 pixels
        ("ShuffleV2_0_3", 65, 64, 1, False),
        ("vgg8", 1, 64, 1, False),
        ("bottleneck", 65, 64, 1, True),
        ("bottleneck", 66, 64, 1, False),
        ("bottleneck", 128, 64, 1, False),
        ("bottleneck", 1, 64, 1, True),
        ("bottleneck", 4, 1, 1, True),
        ("bottleneck", 67, 64, 2, True),  # 3 images are parts of 2 and 1
        ("bottleneck", 68, 64, 2, False),
        ("bottleneck", 66, 64, 4, False),  # 2 images are whole in each process
    ],
)
def test_an_image_alone_is_refused_before_step_1(
    name, count, batch_size, processes, is_refused, monkeypatch
):
    monkeypatch.setattr(distributed, "size", lambda: processes)
    if name == "bottleneck":  # its last maps have one pixel
        layers = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.BatchNorm2d(3), torch.nn.Flatten()]
        model = torch.nn.Sequential(*layers)
    else:
        model = network(name)
    sizes = {"count": count, "batch_size": batch_size}
    if not is_refused:
        check_smallest_part(model, name, 32, **sizes)
        return
    with pytest.raises(UserError, match=f"--batch_size {batch_size} leaves one of the {count} "):
        check_smallest_part(model, name, 32, **sizes)


def test_a_picked_view_alone_is_refused():
    bottleneck = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.BatchNorm2d(3), torch.nn.Flatten()]
    sizes = {"count": 64, "batch_size": 32, "n_pick": 1}
    with pytest.raises(UserError, match="--n_pick 1 leaves one view alone"):
        check_smallest_part(torch.nn.Sequential(*bottleneck), "bottleneck", 32, **sizes)
    check_smallest_part(network("vgg8"), "vgg8", 32, **sizes)


def test_the_command_says_it_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 9 --limit_test 5"
    with pytest.raises(SystemExit) as stopped:
        run("train_teacher.py", words, "--model resnet18 --batch_size 8 --epochs 1 --device cpu")
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--batch_size 8" in line and "resnet18" in line
    assert not list(tmp_path.iterdir())


def test_evaluation_goes_by_the_memory_that_a_network_takes():
    gpu = torch.device("cuda")
    assert evaluation_batch_of(torch.device("cpu"), 32, [network("resnet8")]) == 100
    assert evaluation_batch_of(gpu, 32, [network("resnet8")]) == 2000
    wide = evaluation_batch_of(gpu, 32, [network("resnet8"), network("resnet32x4")])
    assert 500 <= wide < 1000  # 1.2 MB of activations an image
