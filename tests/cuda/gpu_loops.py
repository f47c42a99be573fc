"""The loops of train_student.py on the next batches of tiny images, on either device."""

from pathlib import Path

import pytest
import torch
from command_line import run

from distiller_zoo import FeatureDistiller, LogitDistiller, distillers
from helper.cli.options import parse_student
from helper.loop.distilling import Distilling
from helper.loop.measuring import Measuring, measure_teacher
from helper.processes import interruption
from helper.run.folder import SilentRunFolder
from helper.setup.machine import select_device
from helper.setup.scene import open_scene
from models import build_model
from scripts.bench.fast_loop import Chunk, FastLoop

CLASSES = 5
TINY = (
    f"--dataset synthetic --num_classes {CLASSES} --img_size 16 --limit_train 32 --limit_test 24 "
    "--batch_size 8 --seed 1"
)
TWO_VIEWS = "--lw_mix [1,0,1] --t_output_as_target_for_input_mix"
PASS = f"{TWO_VIEWS} --fix_student --utils.ON --learning_rate 0 --epochs 5"

GROUPS = {
    "logit": [name for name in distillers if issubclass(distillers[name], LogitDistiller)],
    "feature": [
        name
        for name in distillers
        if issubclass(distillers[name], FeatureDistiller)
        and distillers[name].in_main_stage
        and not distillers[name].changes_head
    ],
    "head": [name for name in distillers if getattr(distillers[name], "changes_head", False)],
}
WAITS_ON_PURPOSE = {"kdsvd": "distiller_zoo/kdsvd.py"}
"""Decompositions, whose success the host asks after."""


def write_network(folder, name="resnet14", *, img_size=16):
    """A checkpoint in the public layout."""
    path = folder / f"{name}_vanilla" / "t.pth"
    path.parent.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    network = build_model(name, num_classes=CLASSES, img_size=img_size, generator=generator)
    torch.save({"model": network.state_dict()}, path)
    return path


def open_loop(path_t, words, device):
    options = parse_student(f"--path_t {path_t} --device {device} {words}".split())
    scene = open_scene(options, select_device(device, options.precision), has_teacher=True)
    task = Measuring(scene) if options.fix_student else Distilling(scene)
    task.prepare()
    return FastLoop(scene, task)


def measure(loop, steps):
    """The summary after so many steps more."""
    task = loop.task
    if task.probe.cross_entropy is not None:
        task.probe.cross_entropy.width = 8  # two vectors are there after a step
    task.probe.run, task.state.epoch = SilentRunFolder(Path()), 0
    chunk = Chunk(loop.stream, steps)
    measure_teacher(task.state, task.views, chunk, task.probe, [task.probe], epochs=1, label="")
    return task.probe.summary()


def stopped_after(step, words, monkeypatch):
    """A run that a signal ends after so many steps."""
    real, steps = interruption.check, iter(range(10**6))

    def check():
        if next(steps) == step:
            raise interruption.Interrupted(2)
        real()

    with monkeypatch.context() as patch:
        patch.setattr(interruption, "agree", lambda received: received)  # so each place asks
        patch.setattr(interruption, "check", check)
        with pytest.raises(SystemExit):
            run("train_student.py", words)
