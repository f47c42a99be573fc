"""Faults of a machine or a loss: one clear line, and a run folder from which the run goes on."""

import os
import re
import resource
from pathlib import Path

import pytest
import torch
from command_line import TINY, identical, load, log_lines, metrics, new_run, run, the_run
from fake_images import write_imagenet
from forked import finish

from dataset.batches import Batches
from helper.errors import RunFault, memory_advice, one_line_errors
from helper.loop import training
from helper.loop.metrics import MeanMeter
from helper.setup.machine import make_generators
from helper.step import distill as engine
from models import build_model

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
pytestmark = pytest.mark.usefixtures("empty_folder")
WORDS = f"{TINY} --seed 3 --print_interval 2 --model resnet8 --epochs 3"


def stops(program, words, capsys, status=1):
    """Run until it stops; the line on stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run(program, words)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == status, line
    return line.removeprefix(f"{program}: error: ")


def breaks_at(call, values, monkeypatch):
    """The student's loss takes these values at that call."""
    real, calls = engine.cross_entropy, []

    def broken(logits, target, **settings):
        calls.append(1)
        return real(logits, target, **settings) * (values if len(calls) == call else 1)

    monkeypatch.setattr(engine, "cross_entropy", broken)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("call, step", [(4, 0), (5, 1), (6, 2)])
def test_a_loss_that_is_not_finite_stops_the_run(monkeypatch, capsys, value, call, step):
    with monkeypatch.context() as patch:
        breaks_at(call, float(value), patch)
        line = stops(TEACHER, WORDS, capsys)
    assert re.match(
        rf"epoch 2, step {step}: a loss is not finite: loss {value}, acc1 \S+, acc5 \S+, "
        rf"cls {value}\. ",
        line,
    )
    assert f"stopped: {line}" in log_lines(the_run())
    checkpoint = load(the_run() / "weights" / "ckpt.pth")
    assert checkpoint["epoch"] == 1 and all(
        value.isfinite().all() for value in checkpoint["model"].values()
    )
    run(TEACHER, f"{WORDS} --resume_ExpID latest")
    assert [entry["epoch"] for entry in metrics(the_run(), "epoch")] == [1, 2, 3]


def test_a_test_loss_that_is_not_finite_stops_the_run(monkeypatch, capsys):
    real, calls = training.evaluate, []

    def broken(*arguments, **options):
        calls.append(1)
        result = real(*arguments, **options)
        return type(result)(result.acc1, result.acc5, float("nan")) if len(calls) == 2 else result

    monkeypatch.setattr(training, "evaluate", broken)
    assert stops(TEACHER, WORDS, capsys).startswith("the test loss after epoch 2 is nan. ")
    assert load(the_run() / "weights" / "ckpt.pth")["epoch"] == 1
    assert not (Path("save") / "models").exists()


def test_the_first_bad_step_is_kept():
    meter = MeanMeter()
    for value in (1.0, 2.0, float("inf"), 3.0, float("nan")):
        meter.update({"loss": torch.tensor(value), "other": torch.tensor(value + 1)}, 4)
    with pytest.raises(
        RunFault, match=r"epoch 9, step 2: a loss is not finite: loss inf, other inf\."
    ):
        meter.check_finite("epoch 9")


def test_a_meter_of_finite_values_says_nothing():
    meter = MeanMeter()
    meter.check_finite("epoch 1")
    meter.update({"loss": torch.tensor(2.0)}, 3)
    meter.update({"loss": torch.tensor(5.0)}, 1)
    meter.check_finite("epoch 1")
    assert meter.read() == ({"loss": 5.0}, {"loss": 2.75})


def test_a_teacher_without_finite_outputs_stops_a_pass(capsys):
    """Its weights are finite, so nothing is wrong until it is used."""
    model = build_model(
        "resnet8", num_classes=5, img_size=16, generator=torch.Generator().manual_seed(0)
    )
    weights = model.state_dict()
    weights["layer3.0.bn1.running_var"].fill_(-1)
    path = Path("resnet8_vanilla/x.pth")
    path.parent.mkdir()
    torch.save({"model": weights}, path)
    words = (
        f"{TINY} --path_t {path} --fix_student --learning_rate 0 --utils.check_ce_var --epochs 2"
    )
    assert "outputs are not finite" in stops(STUDENT, words, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("size", [400, 1000, 1500, 3000, 20_000, 200_000, 340_000, 700_000])
def test_a_write_that_fails_is_one_line_and_the_run_goes_on(tmp_path, size):
    """No file may grow beyond `size`: the log, the head, the curves, a checkpoint ... whatever
    comes first."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    words = f"{WORDS} --tb_freq 1 --save_freq 1"
    status, _, errors = finish(TEACHER, words, tmp_path, output=tmp_path / "child", prepare=limit)
    if status == 0:
        assert size == 700_000
        return
    (line,) = errors.splitlines()
    assert status in (1, 2) and line.endswith("File too large") and "Experiments" in line
    runs = list(tmp_path.glob("Experiments/*"))
    assert (status == 2) == (not runs)  # nothing had begun
    if runs and (runs[0] / "weights" / "ckpt.pth").exists():
        for path in (runs[0] / "weights").glob("*.pth"):
            load(path)
        assert all(line.endswith("\n") for line in open(runs[0] / "log" / "log.txt"))
        words += " --resume_ExpID latest"
    status, _, errors = finish(TEACHER, words, tmp_path, output=tmp_path / "child")
    assert status == 0, errors


def test_a_checkpoint_that_cannot_be_written_leaves_the_two_before(monkeypatch, capsys):
    real, calls = os.fsync, []

    def full(handle):
        calls.append(1)
        if len(calls) > 40:
            raise OSError(28, "No space left on device")
        return real(handle)

    monkeypatch.setattr(os, "fsync", full)
    line = stops(TEACHER, WORDS.replace("--epochs 3", "--epochs 30"), capsys)
    assert "No space left on device: free some space" in line
    weights = the_run() / "weights"
    latest, previous = (load(weights / name)["epoch"] for name in ("ckpt.pth", "ckpt.previous.pth"))
    assert latest == previous + 1 > 1
    assert not list(weights.glob(".*"))


def test_a_terminal_that_is_gone_does_not_end_the_run(tmp_path):
    def no_terminal():
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    status, _, errors = finish(
        TEACHER, WORDS, tmp_path, output=tmp_path / "child", prepare=no_terminal
    )
    assert (status, errors) == (0, "")
    (path,) = tmp_path.glob("Experiments/*/log/log.txt")
    assert "] done, see " in path.read_text()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate "
            "memory: you tried"
        ),
    ],
)
def test_no_memory_is_one_line_with_the_batch_size(capsys, error):
    with pytest.raises(SystemExit) as stopped, one_line_errors("p.py"), memory_advice(64):
        raise error
    line = capsys.readouterr().err
    assert stopped.value.code == 1 and line.count("\n") == 1
    assert line.startswith(
        "p.py: error: out of memory at --batch_size 64: try --amp, a smaller --batch_size"
    )


def test_no_memory_in_a_step_leaves_the_last_checkpoint(monkeypatch, capsys):
    real, calls = engine.cross_entropy, []

    def broken(*arguments, **settings):
        calls.append(1)
        if len(calls) == 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(*arguments, **settings)

    monkeypatch.setattr(engine, "cross_entropy", broken)
    assert "--batch_size 16" in stops(TEACHER, WORDS, capsys)
    assert load(the_run() / "weights" / "ckpt.pth")["epoch"] == 1


def test_another_error_is_a_defect_and_shows():
    with pytest.raises(RuntimeError, match="shapes"), memory_advice(64):
        raise RuntimeError("shapes cannot be multiplied")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_turns_bad_costs_no_step(tmp_path, monkeypatch, capsys, workers):
    """A streamed data set: what is done of the epoch is saved, and done once the file is back."""
    write_imagenet(tmp_path / "data", train=1)
    words = (
        "--dataset imagenet100 --data_root data --limit_train 6 --limit_test 1 --batch_size 2 "
        "--model ShuffleV2_0_3 --epochs 1 --device cpu --seed 3 --print_interval 1 "
        f"--num_workers {workers} --model_path"
    )
    whole = new_run(TEACHER, words, "whole --debug", root="Debug_Dir")
    victim = sorted((tmp_path / "data" / "imagenet100" / "train").glob("*/*"))[order_of_last()]
    content = victim.read_bytes()
    victim.write_bytes(b"")
    line = stops(TEACHER, f"{words} part", capsys)
    assert "is damaged or no image" in line and victim.name in line
    checkpoint = load(the_run() / "weights" / "ckpt.pth")
    assert (checkpoint["epoch"], checkpoint["step"]) == (0, 2)
    assert any(
        f"interrupted in epoch 1 after step 2 ({line})" in text for text in log_lines(the_run())
    )
    victim.write_bytes(content)
    run(TEACHER, f"{words} part --resume_ExpID latest")
    assert identical(*(load(path / "weights" / "ckpt.pth") for path in (whole, the_run())))


def order_of_last():
    """The image that comes last in the first epoch of seed 3."""
    return int(torch.randperm(6, generator=make_generators(3)["data"])[-1])


def test_starting_at_a_step_draws_the_whole_pass(tmp_path):
    from dataset.spec import ImageSet
    from dataset.synthetic import synthetic_spec

    images = torch.randint(0, 256, (50, 16, 16, 3), dtype=torch.uint8)
    batches = Batches(
        ImageSet(images, torch.arange(50)), synthetic_spec(50, 16), 16, generator=torch.Generator()
    )
    passes = []
    for first in (0, 2):
        batches.generator.manual_seed(1)
        passes.append((list(batches.starting_at(first)), batches.generator.get_state()))
    assert identical([passes[0][0][2:]], [passes[1][0]]) and torch.equal(passes[0][1], passes[1][1])
