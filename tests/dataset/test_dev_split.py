"""Holding out a part of the training set, and choosing the best epoch on it."""

import numpy as np
import pytest
import torch
from command_line import load, log_lines, metrics, new_run
from fake_cifar import write_cifar

from dataset.dev_split import dev_split
from helper.errors import UserError
from helper.loop.metrics import Evaluation
from helper.loop.state import TrainingState
from helper.loop.training import note_epoch

LABELS = torch.from_numpy(np.random.default_rng(0).permutation(np.repeat(np.arange(20), 50)))


@pytest.mark.parametrize("fraction, held_out", [(0.1, 100), (0.25, 250), (0.033, 33), (0.9, 900)])
def test_the_same_share_of_every_class(fraction, held_out):
    train, dev = dev_split(LABELS, fraction)
    assert len(dev) == held_out
    assert sorted([*train.tolist(), *dev.tolist()]) == list(range(1000))
    counts = LABELS[dev].bincount(minlength=20)
    assert (counts - fraction * 50).abs().max() < 1


def test_unequal_classes_give_their_share():
    labels = torch.tensor([0] * 80 + [1] * 15 + [2] * 5)
    _, dev = dev_split(labels, 0.2)
    assert labels[dev].bincount().tolist() == [16, 3, 1]


def test_the_split_is_random_but_the_same_each_time():
    first, again = dev_split(LABELS, 0.2), dev_split(LABELS, 0.2)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    of_class_3 = (LABELS == 3).nonzero().flatten()
    held_out = torch.isin(of_class_3, first[1])
    assert held_out.sum() == 10 and held_out[:10].sum() < 10 and held_out[-10:].sum() < 10


@pytest.mark.parametrize("fraction, word", [(0.0001, "none"), (0.9999, "all")])
def test_a_split_that_leaves_nothing(fraction, word):
    with pytest.raises(
        UserError, match=rf"--dev_split {fraction:g} of 1000 training images holds out {word}"
    ):
        dev_split(LABELS, fraction)


def test_the_best_epoch_is_chosen_on_what_is_held_out():
    state = TrainingState(
        model=torch.nn.Linear(1, 1), optimizer=None, generators={}, description={}
    )
    results = [(50.0, 40.0), (70.0, 41.0), (60.0, 45.0), (80.0, 44.0)]  # test and held-out top-1
    best = [
        note_epoch(state, epoch, Evaluation(test, 0, 0), Evaluation(dev, 0, 0))
        for epoch, (test, dev) in enumerate(results, start=1)
    ]
    assert best == [True, True, True, False]
    assert (state.best_epoch, state.best_acc1, state.best_score) == (3, 60.0, 45.0)
    assert (state.epoch, state.accuracy) == (4, 80.0)


def test_a_run_with_held_out_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cifar(tmp_path / "data", train=80, test=20)
    train = (
        "--model resnet8 --data_root data --epochs 2 --seed 1 --device cpu --dev_split 0.25".split()
    )
    path = new_run("train_teacher.py", *train)
    lines = log_lines(path)
    assert any("60 training, 20 held-out and 20 test images" in line for line in lines)
    epochs = metrics(path, "epoch")
    shown = [line for line in lines if line.startswith("DevAcc1")]
    assert len(shown) == len(epochs) == 2
    for line, entry in zip(shown, epochs):
        assert line.startswith(f"DevAcc1 {entry['dev_acc1']:.4f} DevAcc5 {entry['dev_acc5']:.4f}")
    best = max(epochs, key=lambda entry: (entry["dev_acc1"], -entry["epoch"]))
    assert epochs[-1]["best_epoch"] == best["epoch"] and epochs[-1]["best_acc1"] == best["acc1"]
    assert load(path / "weights" / "resnet8_best.pth")["epoch"] == best["epoch"]


def test_held_out_images_are_not_trained_on(tmp_path, monkeypatch):
    """Other content in them changes nothing but what is measured on them."""
    monkeypatch.chdir(tmp_path)
    content = write_cifar(tmp_path / "data", train=80, test=20)
    labels = torch.tensor(content["train"][1])
    _, dev = dev_split(labels, 0.25)
    command = (
        "--model resnet8 --data_root data --epochs 1 --seed 1 --device cpu --dev_split 0.25".split()
    )
    first = new_run("train_teacher.py", *command)

    from dataset import Dataset, ImageSet, datasets

    source = datasets["cifar100"]
    real = source.load

    def with_black_dev_images(request):
        data = real(request)
        images = data.train.images.clone()
        images[dev] = 0
        return Dataset(data.spec, ImageSet(images, data.train.labels), data.test)

    monkeypatch.setattr(source, "load", with_black_dev_images)
    second = new_run("train_teacher.py", *command)
    (a,), (b,) = metrics(first, "epoch"), metrics(second, "epoch")
    assert (a["acc1"], a["test_loss"]) == (b["acc1"], b["test_loss"])
    assert a["dev_loss"] != b["dev_loss"]
