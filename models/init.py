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
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def init_linear_uniform(linear: nn.Linear, generator: torch.Generator | None) -> None:
    """PyTorch's default for a linear layer: weight and bias U(-1/sqrt(C_in), 1/sqrt(C_in))."""
    bound = 1 / math.sqrt(linear.in_features)
    nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
    nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
