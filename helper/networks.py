"""Small things done to networks: calling them in the run's precision, freezing them, scoring with them."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def logits_of(model: nn.Module, images: torch.Tensor, *, amp: bool = False) -> torch.Tensor:
    """(B, 3, H, W) -> logits (B, K); with `amp` the network runs in bfloat16 autocast, the logits are float32."""
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=amp):
        logits = model(images)
    return logits.float() if amp else logits


@contextlib.contextmanager
def frozen_batchnorm_statistics(model: nn.Module) -> Iterator[None]:
    """Within, a forward pass leaves BatchNorm's running statistics as they are.

    The model's mode stays: in training mode the batch's own statistics are used, but not remembered. So images
    that are scored and thrown away leave no trace in the network.
    """
    layers = [
        m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats and m.training
    ]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def freeze(model: nn.Module) -> nn.Module:
    """The model in eval mode, its parameters without gradient."""
    return model.eval().requires_grad_(False)
