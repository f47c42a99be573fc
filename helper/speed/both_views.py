"""The student's passes over both views at the same time, each on half of a CPU's cores.

Both passes, forward and backward, are independent of each other until the losses are summed; only
BatchNorm's running statistics are passed on from one to the other, and are merged here. On a GPU
the passes overlap as they are.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from helper.speed.cores import workers
from helper.step.passes import is_compiled, logits_of

STATISTICS = ("running_mean", "running_var")


class BothViews:
    """Calls a network in training mode on two batches.

    Gradients and statistics are those of two calls in turn.

    A twin shares the network's parameters, and has BatchNorm statistics of its own, which start
    from 0 in each pass. With keeps_view_statistics False they are dropped: the network's own are
    those of the first batch alone.
    """

    def __init__(self, network: nn.Module, *, keeps_view_statistics: bool = True) -> None:
        self.network = network
        self.keeps_view_statistics = keeps_view_statistics
        self.twin = copy.deepcopy(
            network, {id(parameter): parameter for parameter in network.parameters()}
        )
        self.twin.train()
        pairs = zip(network.modules(), self.twin.modules())
        self.norms = [(norm, twin) for norm, twin in pairs if isinstance(norm, nn.BatchNorm2d)]
        for _, twin in self.norms:
            for name in STATISTICS:
                getattr(twin, name).zero_()

    @staticmethod
    def suits(network: nn.Module) -> bool:
        """True if the cores can be halved, and the network keeps nothing but what is merged."""
        is_even = torch.get_num_threads() % 2 == 0
        return is_even and not is_compiled(network) and all(map(is_understood, network.modules()))

    def __call__(
        self, images: torch.Tensor, view: torch.Tensor, *, amp: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """images: (B, 3, H, W), view: (P, 3, H, W).
        Returns their logits, (B, K) and (P, K), as `logits_of` does.
        """
        assert all(norm.training for norm, _ in self.norms)
        some = next(self.network.parameters())
        logits = _Both.apply(some, [self.network, self.twin], [images, view], amp)
        self._merge_statistics()
        return logits

    def _merge_statistics(self) -> None:
        """A pass leaves (1 - momentum) * before + momentum * batch; the twin's `before` was 0.

        Through .data: the backward passes have them saved, though they do not read them.
        """
        for norm, twin in self.norms:
            assert norm.momentum is not None and norm.num_batches_tracked is not None
            for name in STATISTICS:
                of_twin = getattr(twin, name).data
                if self.keeps_view_statistics:
                    getattr(norm, name).data.mul_(1 - norm.momentum).add_(of_twin)
                of_twin.zero_()
            norm.num_batches_tracked += self.keeps_view_statistics


def is_understood(layer: nn.Module) -> bool:
    """True if a layer gives the same when two threads call it and its twin."""
    if type(layer) is nn.BatchNorm2d:
        return layer.track_running_stats and layer.momentum is not None
    return not isinstance(layer, _DropoutNd) and not list(layer.buffers(recurse=False))


class _Both(torch.autograd.Function):
    """Runs each network's pass, forward and later backward, in a thread of its own.

    The engine would take the two backward passes in turn. The parameters get their gradients from
    within; the one that is an argument only says that the result has some.
    """

    @staticmethod
    def forward(
        ctx: Any, _: nn.Parameter, networks: list[nn.Module], batches: list[torch.Tensor], amp: bool
    ) -> tuple[torch.Tensor, ...]:
        def run(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():  # of this thread
                return logits_of(network, images, amp=amp)

        ctx.logits = list(workers(2).map(run, networks, batches))
        return tuple(logits.detach() for logits in ctx.logits)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, ...]:
        def run(logits: torch.Tensor, gradient: torch.Tensor) -> None:
            logits.backward(gradient)

        list(workers(2).map(run, ctx.logits, gradients))
        return None, None, None, None
