"""A run with --amp says so where the processor is no faster in bfloat16."""

import time

import pytest
import torch
from command_line import run

import helper.speed.bfloat16
from helper.speed.bfloat16 import seconds_of_convolution, warn_if_slow

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("bfloat16", "warns"), [(0.4, ""), (1.0, ""), (1.9, "1.9 times as long"), (30, "30.0 times")]
)
def test_a_slow_bfloat16_is_told(monkeypatch, bfloat16, warns):
    seconds = {torch.float32: 0.001, torch.bfloat16: 0.001 * bfloat16}
    monkeypatch.setattr(helper.speed.bfloat16, "seconds_of_convolution", seconds.__getitem__)
    lines = warn_if_slow(CPU, amp=True)
    assert len(lines) == bool(warns) and warns in "".join(lines)


@pytest.mark.parametrize(("device", "amp"), [("cpu", False), ("cuda", True), ("cuda", False)])
def test_nothing_is_measured_where_it_does_not_matter(monkeypatch, device, amp):
    monkeypatch.setattr(helper.speed.bfloat16, "seconds_of_convolution", None)
    assert warn_if_slow(torch.device(device), amp=amp) == []


def test_the_shortest_time_counts(monkeypatch):
    ticks = iter([0, 5, 10, 14, 20, 23, 30, 32, 40, 48, 50, 55])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    assert seconds_of_convolution(torch.float32) == 2


def test_the_teacher_program_warns(monkeypatch, capsys):
    seconds = {torch.float32: 0.001, torch.bfloat16: 0.002}
    monkeypatch.setattr(helper.speed.bfloat16, "seconds_of_convolution", seconds.__getitem__)
    words = "--dataset synthetic --limit_train 16 --model resnet8 --device cpu --seed 1 --dry_run"
    for amp, warnings in (("", 0), ("--amp", 1)):
        run("train_teacher.py", words, amp)
        assert (
            capsys.readouterr().out.count("warning: --amp: this CPU takes 2.0 times as long")
            == warnings
        )
