"""The memory layout of a network's weights and activations that its convolutions like best."""

import torch
from torch import nn

from models.model_info import output_shapes

WIDE, NARROW = 256, 7
"""Channels in and out, at least, and pixels in a row of the output, at most, of what channels_last
slows on a CPU."""


def in_fast_layout(network: nn.Module, device: torch.device, img_size: int) -> nn.Module:
    """In channels_last memory, but for a CPU's wide convolutions on few pixels.

    All give the same, up to rounding.

    In channels_last oneDNN takes each row of the output by itself; where it has four pixels (512
    channels), this takes 1.6 times as long as in the plain layout, and 1.3 times backward.
    """
    network = network.to(device).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        for layer in wide_on_few_pixels(network, img_size):
            layer.to(memory_format=torch.contiguous_format)
            layer.register_forward_pre_hook(in_plain_layout)
    return network


def in_plain_layout(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(each.contiguous() for each in inputs)


def wide_on_few_pixels(network: nn.Module, img_size: int) -> list[nn.Conv2d]:
    """Such convolutions, for images of `img_size` pixels a side. 1x1 ones gain nothing."""

    def is_wide(layer: nn.Module) -> bool:
        return (
            isinstance(layer, nn.Conv2d)
            and min(layer.in_channels, layer.out_channels) >= WIDE
            and layer.groups == 1
            and max(layer.kernel_size) > 1
        )

    if not any(map(is_wide, network.modules())):
        return []
    calls = output_shapes(network, img_size, (nn.Conv2d,))
    return list(
        dict.fromkeys(layer for layer, shape in calls if is_wide(layer) and shape[-1] <= NARROW)
    )
