"""How the weights are trained: optimizer, rates, intervals."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from helper.cli.parser import Options
from helper.cli.schedule import RateSchedule


@dataclass(frozen=True)
class LoopSettings:
    """The length of a training, its rates, and how often it is logged and saved."""

    epochs: int
    learning_rate: Callable[[int], float]
    """Epoch, counted from 1 -> learning rate."""
    weight_decay: Callable[[int], float]
    """Epoch -> weight decay."""
    print_interval: int = 100
    tb_freq: int = 500
    save_freq: int = -1
    amp: bool = False


def loop_settings(options: Options) -> LoopSettings:
    return LoopSettings(
        epochs=options.epochs,
        learning_rate=RateSchedule(
            options.learning_rate,
            options.epochs,
            options.lr_decay_epochs,
            options.lr_decay_rate,
            options.lr_schedule,
            options.warmup_epochs,
        ).at,
        weight_decay=options.facts.weight_decay,
        print_interval=options.print_interval,
        tb_freq=options.tb_freq,
        save_freq=options.save_freq,
        amp=options.amp,
    )


@dataclass(frozen=True)
class InitialSettings:
    """The stage before the distillation proper: SGD at a constant rate."""

    epochs: int
    learning_rate: float
    momentum: float
    weight_decay: float
    amp: bool = False


def initial_settings(options: Options) -> InitialSettings:
    return InitialSettings(
        options.init_epochs,
        options.learning_rate,
        options.momentum,
        options.weight_decay,
        options.amp,
    )


def make_optimizer(options: Options, *trained: nn.Module) -> torch.optim.SGD:
    """SGD with momentum; weight decay on every parameter, as published.

    On a GPU one kernel updates them all.
    """
    parameters = [parameter for model in trained for parameter in model.parameters()]
    return torch.optim.SGD(
        parameters,
        lr=options.learning_rate,
        momentum=options.momentum,
        nesterov=options.nesterov,
        weight_decay=options.weight_decay,
        fused=True if parameters[0].is_cuda else None,  # on a CPU it is no faster
    )
