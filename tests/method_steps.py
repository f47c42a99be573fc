"""Steps of a distillation with any method, on random images: CLASSES classes, SIZE pixels."""

import dataclasses

import torch
from scenes import scene_of

from augment import MixSettings, Pick, mix_modes, pick_criteria
from dataset.synthetic import synthetic_spec
from helper.cli.flags import student_parser
from helper.setup.methods import make_methods
from helper.step.distill import DistillStep
from helper.step.networks import freeze
from helper.step.passes import ViewMaker, student_passes
from models import build_model

CLASSES, SIZE, BATCH = 10, 32, 8
SPEC = synthetic_spec(CLASSES, SIZE)


def network(name, seed):
    generator = torch.Generator().manual_seed(seed)
    return build_model(name, num_classes=CLASSES, img_size=SIZE, generator=generator)


def options_for(distill, *words):
    """The options of a command line; --nce_k is small, since the training set is."""
    return student_parser().parse(["--distill", distill, "--nce_k", "6", *words])


def build(distill, teacher="resnet14", student="resnet8", *words):
    """(teacher, student, methods)"""
    options = options_for(distill, *words)
    teacher_network, student_network = freeze(network(teacher, 0)), network(student, 1)
    scene = scene_of(
        options,
        teacher=teacher_network,
        student=student_network,
        spec=dataclasses.replace(SPEC, name="cifar100"),  # the data set of the published pairs
        labels=torch.arange(40) % CLASSES,
        generator=torch.Generator().manual_seed(2),
        names=(teacher, student),
    )
    return teacher_network, student_network, make_methods(scene)


def batch(count=BATCH, seed=3):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, SIZE, SIZE, generator=generator)
    rows = torch.randperm(40, generator=generator)[:count]
    return images, rows % CLASSES, rows


def make_step(teacher, student, methods, mix_mode=None, *, both=False, draw="batch"):
    augment = mix_mode and mix_modes[mix_mode](SPEC, MixSettings(draw=draw))
    pick = Pick(pick_criteria["student_entropy"], BATCH, 4.0) if mix_mode == "cutmix_pick" else None
    views = ViewMaker(
        teacher,
        augment,
        torch.Generator().manual_seed(4),
        pick=pick,
        student=methods.deployed(student),
        preacts=methods.teacher_preacts,
        features_of_view=both,
    )
    return DistillStep(
        views,
        student_passes(student, methods.preacts),
        methods.logit,
        methods.in_main_stage,
        methods.weights,
        teacher_target=True,
        feature_views=both,
    )


def train(step, student, methods, steps, *, lr=0.01, only=None):
    """Steps on one batch.

    Returns the losses of each; `only`: the names of those that are minimised.
    """
    parameters = [*student.parameters(), *methods.modules.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9)
    student.train()
    step.start_epoch(20)  # methods that warm up have done so
    history = []
    for _ in range(steps):
        losses, logits = step(*batch())
        assert logits.shape == (BATCH, CLASSES)
        wanted = {name: loss for name, loss in losses.items() if only is None or name in only}
        optimizer.zero_grad()
        step.weights.total(wanted).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
    return history
