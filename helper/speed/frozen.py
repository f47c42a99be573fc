"""A frozen network made faster, for the teacher: the same logits up to rounding.

The network is traced (torch.fx), and then
- each BatchNorm that follows a convolution, and nothing else reads, goes into its weights; one that
  stands before its convolution, as in the wide ResNets' blocks, cannot and stays,
- a ReLU or a sum overwrites what it reads where nothing else does,
- with `amp` the weights of convolutions and linear layers are bfloat16 once and for all; autocast
  would cast them in every pass,
- on a CPU the images go through in parts, whose activations stay in the cache, and each part on a
  core of its own,
- on a GPU the pass is replayed from a CUDA graph.

Features are not offered: a network that a distiller looks into is left as it is.
"""

import copy
import math
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.proxy import TraceError
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from helper.speed.cores import workers
from helper.speed.graphs import Graphs
from helper.step.passes import is_compiled

PIXELS_AT_ONCE = 64 * 32 * 32
"""On a CPU, of the images that go through together at the most: 64 of 32x32 pixels."""
VALUES_AT_ONCE = PIXELS_AT_ONCE * 128
"""Likewise, of the widest layer's output: wider networks, as ResNet50, are slower with more, and
fill the memory."""
TOLERANCE = 1e-4
"""How far the logits may be from the network's, relative to the largest; beyond it something was
not understood."""


class FrozenCopy(nn.Module):
    """Logits (B, K), float32, of images (B, 3, H, W), without gradient."""

    def __init__(self, network: nn.Module, *, at_once: int, amp: bool) -> None:
        """`at_once`: how many images go through together at the most, on a CPU."""
        super().__init__()
        self.network, self.at_once, self.amp = network, at_once, amp
        self.graphs = Graphs(self._pass)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.is_cuda:
            if is_compiled(self.network):  # it has graphs of its own
                return self._pass(images).clone()
            return self.graphs(images)
        cores = torch.get_num_threads()
        parts = images.split(part_size(len(images), most=self.at_once, cores=cores))
        shares = len(parts) > 1 and cores > 1 and not is_compiled(self.network)
        passes = workers(cores).map if shares else map
        return torch.cat(list(passes(self._pass, parts)))

    def _pass(self, images: torch.Tensor) -> torch.Tensor:
        """The result may be of inference mode, or a CUDA graph's own: to keep it, copy it.

        Compiled, there is no inference mode: the student's CUDA graphs could not write to what was
        made in it.
        """
        without_gradient = torch.no_grad if is_compiled(self.network) else torch.inference_mode
        with (
            without_gradient(),
            torch.autocast(images.device.type, torch.bfloat16, enabled=self.amp),
        ):
            return self.network(images).float()


def part_size(batch: int, *, most: int, cores: int) -> int:
    """Images of a part: every core has as many as any other, none more than `most` at once."""
    rounds = max(1, math.ceil(batch / (cores * most)))
    return max(1, math.ceil(batch / (cores * rounds)))


def frozen_copy(network: nn.Module, img_size: int, *, amp: bool = False) -> nn.Module:
    """A faster copy of a network in eval mode, or the network itself if it cannot be traced."""
    parameter = next(network.parameters(), None)
    if parameter is None:
        return network
    example = torch.randn(2, 3, img_size, img_size, generator=torch.Generator().manual_seed(0))
    example = example.to(parameter.device)
    try:
        fast = fold_batchnorms(trace(network, example)).requires_grad_(False)
        with torch.no_grad():
            expected, widest = precise(network)(precise(example)), _Widest(precise(fast))
            logits = widest.run(precise(example))
    except (TraceError, TypeError, ValueError, RuntimeError, AttributeError, KeyError):
        return network
    if not (logits - expected).abs().max() <= TOLERANCE * expected.abs().max():
        return network
    if amp:
        for layer in fast.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.to(torch.bfloat16)
    at_once = max(
        1, min(PIXELS_AT_ONCE // img_size**2, VALUES_AT_ONCE * len(example) // widest.values)
    )
    return FrozenCopy(fast, at_once=at_once, amp=amp)


def precise(value: Any) -> Any:
    """A network or a tensor as it is; in float64 where TF32 may stand in for float32."""
    return copy.deepcopy(value).double() if may_be_tf32(value) else value


def may_be_tf32(value: Any) -> bool:
    return (value if torch.is_tensor(value) else next(value.parameters())).is_cuda


class _Widest(fx.Interpreter):
    """Finds how many values the widest layer gives."""

    values = 1

    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        if torch.is_tensor(result):
            self.values = max(self.values, result.numel())
        return result


class _Tracer(fx.Tracer):
    """Decides conditions on the images' shape as for `example`."""

    def __init__(self, example: torch.Tensor) -> None:
        super().__init__()
        self.example = example

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(self._value(obj.node))

    def _value(self, node: fx.Node) -> Any:
        """TypeError if more than the shape is asked for."""
        if node.op == "placeholder":
            return torch.empty_like(self.example, device="meta")
        if node.op not in ("call_function", "call_method"):
            raise TypeError("a condition depends on more than the images' shape")
        first, *rest = (self._value(a) if isinstance(a, fx.Node) else a for a in node.args)
        call = node.target if callable(node.target) else getattr(first, node.target)
        return call(first, *rest) if callable(node.target) else call(*rest)


def trace(network: nn.Module, example: torch.Tensor) -> fx.GraphModule:
    """The network's computation of its logits, on copies of its weights."""
    network = copy.deepcopy(network)
    graph = _Tracer(example).trace(network, concrete_args={"is_feat": False, "preact": False})
    return fx.GraphModule(network, graph)


def fold_batchnorms(traced: fx.GraphModule) -> fx.GraphModule:
    """BatchNorms into the layers before them, where these have no other reader.

    ReLUs and sums in place, likewise.
    """
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        before = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if before is None or len(before.users) > 1:
            continue
        earlier, layer = (
            modules.get(n.target) if n.op == "call_module" else None for n in (before, node)
        )
        if type(layer) in FOLDS and type(earlier) is FOLDS[type(layer)][0]:
            parent, _, name = before.target.rpartition(".")
            setattr(traced.get_submodule(parent), name, FOLDS[type(layer)][1](earlier, layer))
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
        elif not is_new(before, earlier):
            continue
        elif node.target in (F.relu, torch.relu) or type(layer) is nn.ReLU:
            node.op, node.target = "call_function", torch.relu_
            node.args, node.kwargs = (before,), {}
        elif node.target is operator.add:
            node.target = operator.iadd
    traced.graph.lint()
    traced.recompile()
    return traced


FOLDS = {
    nn.BatchNorm2d: (nn.Conv2d, fuse_conv_bn_eval),
    nn.BatchNorm1d: (nn.Linear, fuse_linear_bn_eval),
}
"""BatchNorm -> (the layer that it may follow, how the two become one)."""


def is_new(node: fx.Node, layer: nn.Module | None) -> bool:
    """True if the node returns memory of its own, no part of what others read."""
    return isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)) or node.target is operator.iadd
