"""How large a model is: its parameters, and the arithmetic of one forward pass."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """The number of scalars in its parameters; BatchNorm's running statistics are none."""
    return sum(param.numel() for param in model.parameters())


def count_flops(model: nn.Module, img_size: int) -> int:
    """FLOPs of the forward pass of one 3 x img_size x img_size image in eval mode.

    A multiply-add counts as two FLOPs; papers that count it as one report half of this.
    Convolutions and matrix products count; biases, BatchNorm, activations and pooling do not. Runs
    a copy of the model on the meta device, shapes alone: the model itself is left as it is.
    """
    shapes_only = copy.deepcopy(model).to("meta").eval()
    image = torch.empty(1, 3, img_size, img_size, device="meta")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        shapes_only(image)
    return counter.get_total_flops()
