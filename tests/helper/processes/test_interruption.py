"""Signals to a real process: the step is finished, the state is saved, the status tells which
signal it was."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from command_line import identical, load, log_lines, new_run, run, the_run
from forked import finish, start

from dataset.batches import Batches
from dataset.spec import ImageSet
from dataset.synthetic import synthetic_spec
from helper.loop.state import RunState
from helper.loop.training import batches_left
from helper.processes import interruption

TEACHER = "train_teacher.py"
LONG = (
    "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 3000 --limit_test 24 "
    "--batch_size 16 --device cpu "
    "--model resnet8 --seed 3 --print_interval 1"
)
"""188 steps an epoch."""


def until(condition, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {seconds} s"
        time.sleep(0.01)


def log_of(folder):
    return "".join(path.read_text() for path in folder.glob("Experiments/*/log/log.txt"))


@pytest.mark.parametrize(
    "number, status", [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 143), ("SIGHUP", 129)]
)
def test_a_signal_saves_the_epoch_so_far(tmp_path, monkeypatch, number, status):
    monkeypatch.chdir(tmp_path)
    child = start(TEACHER, f"{LONG} --epochs 1", tmp_path, output=tmp_path / "child")
    until(lambda: "Epoch: [1][5/" in log_of(tmp_path))
    child.kill(signal.Signals[number])
    assert child.wait() == status
    assert child.stderr == f"\n{TEACHER}: interrupted\n"
    folder = the_run()
    (line,) = [
        line for line in log_lines(folder) if line.startswith("interrupted in epoch 1 after step ")
    ]
    assert line.endswith(f"({number}); repeat the command with --resume_ExpID {folder.name}")
    checkpoint = load(folder / "weights" / "ckpt.pth")
    assert checkpoint["epoch"] == 0 and 5 < checkpoint["step"] == int(line.split()[6]) < 188


@pytest.mark.parametrize("when", [0, 2, 3])
def test_a_pass_ends_after_the_step_in_which_a_signal_came(when):
    batches, seen = small_batches(), []
    state = RunState(generators={"data": batches.generator})
    ended = pytest.raises(interruption.Interrupted)
    with ended, interruption.listening(), interruption.between_steps_only():
        for index, _ in batches_left(state, batches):
            seen.append(index)
            if index == when:
                signal.raise_signal(signal.SIGTERM)
    assert len(batches) == 4 and seen == list(range(when + 1)) and state.step == when + 1


def small_batches():
    split = ImageSet(
        torch.zeros(8, 16, 16, 3, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64)
    )
    return Batches(split, synthetic_spec(5, 16), 2, generator=torch.Generator())


def test_a_second_signal_ends_it_at_once(tmp_path):
    def slow_save():
        from helper.run.folder import RunFolder

        real = RunFolder.save

        def save(self, checkpoint):
            if checkpoint["step"]:
                time.sleep(60)
            real(self, checkpoint)

        RunFolder.save = save

    words = f"{LONG} --epochs 1"
    child = start(TEACHER, words, tmp_path, output=tmp_path / "child", prepare=slow_save)
    until(lambda: "Epoch: [1][5/" in log_of(tmp_path))
    child.kill(signal.SIGTERM)
    until(lambda: "interrupted in epoch 1" in log_of(tmp_path))
    child.kill(signal.SIGTERM)
    assert child.wait(20) == 143
    assert (
        load(next(tmp_path.glob("Experiments/*/weights/ckpt.pth")))["step"] == 0
    )  # what was saved before is whole


def test_a_signal_while_it_starts_leaves_nothing(tmp_path):
    def slow_start():
        from helper.setup import scene

        scene.make_generators = lambda seed: (Path("started").touch(), time.sleep(60))

    child = start(
        TEACHER, f"{LONG} --epochs 1", tmp_path, output=tmp_path / "child", prepare=slow_start
    )
    until((tmp_path / "started").exists)
    child.kill(signal.SIGTERM)
    assert child.wait(20) == 143 and child.stderr == f"\n{TEACHER}: interrupted\n"
    assert not (tmp_path / "Experiments").exists()


def test_what_nohup_ignores_stays_ignored():
    before = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruption.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            interruption.check()
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(tmp_path, monkeypatch):
    """A few of the soak's kills: SIGKILL in an epoch, twice."""
    monkeypatch.chdir(tmp_path)
    words = LONG.replace("3000", "160") + " --epochs 3"
    whole = new_run(TEACHER, words, "--debug --model_path whole", root="Debug_Dir")
    child = start(TEACHER, words, tmp_path, output=tmp_path / "child")
    for epoch in (2, 3):
        until(lambda epoch=epoch: f"Epoch: [{epoch}][4/" in log_of(tmp_path))
        child.kill(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert load(the_run() / "weights" / "ckpt.pth")["epoch"] == epoch - 1
        child = start(
            TEACHER, f"{words} --resume_ExpID latest", tmp_path, output=tmp_path / "child"
        )
    assert child.wait() == 0, child.stderr
    assert identical(*(load(path / "weights" / "ckpt.pth") for path in (whole, the_run())))
    assert not finish(
        TEACHER, f"{words} --resume_ExpID latest", tmp_path, output=tmp_path / "child"
    )[0]


def test_a_second_process_cannot_resume_a_run_that_is_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    child = start(TEACHER, f"{LONG} --epochs 1", tmp_path, output=tmp_path / "child")
    until(lambda: "Epoch: [1][5/" in log_of(tmp_path))
    before = log_of(tmp_path).splitlines()[0]
    status, _, errors = finish(
        TEACHER, f"{LONG} --epochs 1 --resume_ExpID latest", tmp_path, output=tmp_path / "other"
    )
    assert (
        status == 2
        and f"is in use by process {child.pid} on " in errors
        and errors.count("\n") == 1
    )
    child.kill(signal.SIGTERM)
    assert child.wait() == 143
    assert log_of(tmp_path).splitlines()[0] == before and "resumed" not in log_of(tmp_path)
    run(TEACHER, f"{LONG} --epochs 1 --resume_ExpID latest --dry_run")
