"""Working directories: one for sweeps, one with runs to collect."""

import sys

import pytest
import torch
from fake_runs import COMMAND, epoch, options_of, write_log, write_run
from sweep_runs import STUB

from helper.run.checkpoint import save_checkpoint
from models import build_model


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with teachers."""
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    weights = build_model("resnet8", num_classes=5, img_size=16, generator=generator).state_dict()
    save_checkpoint(tmp_path / "t" / "resnet8_vanilla" / "ckpt_epoch_240.pth", {"model": weights})
    (tmp_path / "stub").write_text(STUB.format(python=sys.executable))
    (tmp_path / "stub").chmod(0o755)
    return tmp_path


@pytest.fixture
def runs(tmp_path):
    """Two trials, one cut off, a T. stddev pass, a picked scheme, a teacher's run."""
    root = tmp_path / "Experiments"
    flip = options_of("flip")
    write_run(root / "a", flip, [epoch(1, 9.0, 1.0), epoch(2, 1.25, 60.0)], COMMAND)
    write_run(root / "b", flip, [epoch(1, 9.0, 1.0), epoch(2, 1.75, 62.0)], COMMAND)
    write_run(root / "c", flip, [epoch(1, 99.0, 1.0)], COMMAND)
    passes = flip | {"fix_student": True, "epochs": 10}
    write_run(root / "d", passes, [{"kind": "summary", "t_stddev": 0.005}], COMMAND)
    write_run(
        root / "e", options_of("cutmix_pick by teacher_entropy"), [epoch(2, 1.0, 70.0)], COMMAND
    )
    write_log(root / "f/log/args.json", '{"model": "vgg13", "epochs": 2}')
    write_log(root / "f/log/metrics.jsonl", '{"kind": "epoch", "epoch": 2}')
    return root
