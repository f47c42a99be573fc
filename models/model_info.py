"""The size of a model: its parameters, and the arithmetic of one forward pass."""

from typing import Any, TypeVar

import torch
from torch import nn

from models.external import Offers

Layer = TypeVar("Layer", bound=nn.Module)


def count_parameters(model: nn.Module) -> int:
    """The number of scalars in its parameters; BatchNorm's running statistics are none."""
    return sum(param.numel() for param in model.parameters())


def count_flops(model: nn.Module, img_size: int) -> int:
    """FLOPs of the forward pass of one 3 x img_size x img_size image in eval mode.

    A multiply-add counts as two FLOPs; papers that count it as one report half of this.
    Convolutions and linear layers count; biases, BatchNorm, activations and pooling do not.
    (torch.utils.flop_counter finds the same in our models, and takes a second to import.)
    Attention, which is no layer of its own, is counted in networks of other libraries. The model is
    run, and left as it is.
    """
    if isinstance(model, Offers):
        return count_by_operation(model, img_size)
    calls = output_shapes(model, img_size, (nn.Conv2d, nn.Linear))
    return sum(2 * shape.numel() * layer.weight[0].numel() for layer, shape in calls)


def count_by_operation(model: nn.Module, img_size: int) -> int:
    """`count_flops` for a network with other products too, such as a transformer."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        _see_one_image(model, img_size)
    return counter.get_total_flops()


def _see_one_image(model: nn.Module, img_size: int) -> None:
    """One forward pass in eval mode; each module's own mode is as before."""
    modes = [(module, module.training) for module in model.modules()]
    image = torch.zeros(1, 3, img_size, img_size, device=next(model.parameters()).device)
    try:
        with torch.no_grad():
            model.eval()(image)
    finally:
        for module, is_training in modes:
            module.training = is_training


def output_shapes(
    model: nn.Module, img_size: int, kinds: tuple[type[Layer], ...]
) -> list[tuple[Layer, torch.Size]]:
    """Each call of a layer of these kinds with its output's shape, for one image in eval mode.

    Runs the model, and leaves it as it is.
    """
    calls: list[tuple[Layer, torch.Size]] = []

    def note(layer: Layer, _: Any, output: torch.Tensor) -> None:
        calls.append((layer, output.shape))

    hooks = [
        layer.register_forward_hook(note) for layer in model.modules() if isinstance(layer, kinds)
    ]
    try:
        _see_one_image(model, img_size)
    finally:
        for hook in hooks:
            hook.remove()
    return calls
