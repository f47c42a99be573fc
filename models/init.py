"""The initialisations that families share. They draw from `generator`; None is the global one."""

import math

import torch
from torch import nn


def init_convs_and_norms(model: nn.Module, generator: torch.Generator | None) -> None:
    """Convolutions: variance 2 / (k k C_out), biases 0. BatchNorm: scale 1, shift 0, no statistics.

    The fan-out rule of He et al., ICCV 2015, arXiv:1502.01852.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def init_uniform(layer: nn.Conv2d | nn.Linear, generator: torch.Generator | None) -> None:
    """PyTorch's default: weight and bias U(-1/sqrt(n), 1/sqrt(n)), n inputs to each output."""
    bound = 1 / math.sqrt(layer.weight[0].numel())
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def init_as_pytorch(model: nn.Module, generator: torch.Generator | None) -> None:
    """PyTorch's defaults, for the families that leave their weights as they were constructed."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            init_uniform(module, generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
