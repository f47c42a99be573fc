"""Small things done to networks: freezing them, asking for their features' shapes."""

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def feature_shapes(model: nn.Module, img_size: int, batch_size: int = 2) -> list[torch.Size]:
    """The shapes of the model's features for `batch_size` images; nothing is computed.

    The model itself is left as it is.
    """
    shapes_only = copy.deepcopy(model).to("meta").eval()
    for layer in shapes_only.modules():
        if isinstance(layer, _BatchNorm):  # keeps every shape, and takes most of the time here
            layer.forward = lambda input: input
    images = torch.empty(batch_size, 3, img_size, img_size, device="meta")
    return [feature.shape for feature in shapes_only(images, is_feat=True)[0]]


@contextlib.contextmanager
def frozen_batchnorm_statistics(model: nn.Module) -> Iterator[None]:
    """Within, a forward pass leaves BatchNorm's running statistics as they are.

    The model's mode stays: in training mode the batch's own statistics are used, but not
    remembered. So images that are scored and thrown away leave no trace in the network.
    """
    layers = [
        m
        for m in model.modules()
        if isinstance(m, _BatchNorm) and m.track_running_stats and m.training
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
