"""The loops of train_student.py on the next batches of tiny images, on either device."""

import torch

from helper.cli.options import parse_student
from helper.loop.distilling import Distilling
from helper.loop.measuring import Measuring
from helper.setup.machine import select_device
from helper.setup.scene import open_scene
from models import build_model
from scripts.bench.fast_loop import FastLoop

CLASSES = 5
TINY = (
    f"--dataset synthetic --num_classes {CLASSES} --img_size 16 --limit_train 32 --limit_test 24 "
    "--batch_size 8 --seed 1"
)
TWO_VIEWS = "--lw_mix [1,0,1] --t_output_as_target_for_input_mix"
PASS = f"{TWO_VIEWS} --fix_student --utils.ON --learning_rate 0 --epochs 5"


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
    scene = open_scene(options, select_device(device), has_teacher=True)
    task = Measuring(scene) if options.fix_student else Distilling(scene)
    task.prepare()
    return FastLoop(scene, task)
