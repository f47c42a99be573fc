"""The student's passes over both views on a GPU, forward and backward, as two CUDA graphs.

At batch 64 the host needs longer to launch the student's kernels than the GPU to run them.
"""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from helper.speed.both_views import is_understood
from helper.speed.graphs import MOST_VALUES
from helper.step.networks import frozen_batchnorm_statistics


class BothPasses(nn.Module):
    """images (B, 3, H, W), view (P, 3, H, W) -> logits of both, float32, in passes of their own."""

    def __init__(self, network: nn.Module, *, amp: bool, keeps_view_statistics: bool) -> None:
        super().__init__()
        self.network, self.amp = network, amp
        self.keeps_view_statistics = keeps_view_statistics

    def forward(
        self, images: torch.Tensor, view: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hold = contextlib.nullcontext()
        if not self.keeps_view_statistics:
            hold = frozen_batchnorm_statistics(self.network)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.amp):
            first = self.network(images)
            with hold:
                second = self.network(view)
        return first.float(), second.float()


class GraphedViews:
    """Calls a network in training mode on two batches: the same as two calls, to the bit.

    A batch of another size than `batch_size`, or a large one, runs without graphs. Gradients are
    written to the same memory at each backward pass, so they must be read, and
    `zero_grad(set_to_none=True)` called, before the next.
    """

    def __init__(
        self, network: nn.Module, batch_size: int, *, keeps_view_statistics: bool = True
    ) -> None:
        self.network, self.batch_size = network, batch_size
        self.keeps_view_statistics = keeps_view_statistics
        self.norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        self.graphed: Callable[..., Any] | None = None
        self.is_tried = False
        """Whether recording was tried: the network's passes may refuse it."""
        self.surface: tuple | None = None
        """The shapes and precision that the graphs are for."""

    @staticmethod
    def suits(network: nn.Module) -> bool:
        """True if replays keep all that the network's passes leave behind."""
        return all(map(is_understood, network.modules()))

    def __call__(
        self, images: torch.Tensor, view: torch.Tensor, *, amp: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """images: (B, 3, H, W), view: (P, 3, H, W).
        Returns their logits, (B, K) and (P, K), as `logits_of` does.
        """
        surface = (images.shape, view.shape, images.stride(), view.stride(), amp)
        is_small = max(images.numel(), view.numel()) <= MOST_VALUES
        if not self.is_tried and len(images) == self.batch_size and is_small:
            self.is_tried, self.surface = True, surface
            self._record(images, view, amp)
        if self.graphed is None or surface != self.surface:
            return self._passes(amp)(images, view)
        first, second = self.graphed(images, view)
        for norm in self.norms:  # a counter on the CPU is in no graph
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked += 1 + self.keeps_view_statistics
        return first.clone(), second.clone()

    def _passes(self, amp: bool) -> BothPasses:
        return BothPasses(self.network, amp=amp, keeps_view_statistics=self.keeps_view_statistics)

    def _record(self, images: torch.Tensor, view: torch.Tensor, amp: bool) -> None:
        """Make the graphs. The passes that this takes leave no trace in BatchNorm's statistics.

        The loss of no earlier pass may still be kept: its part of the autograd graph belongs to
        another stream, and recording fails.
        """
        before = [buffer.clone() for buffer in self.network.buffers()]
        try:
            with warnings.catch_warnings():
                # It warms up on a stream of its own, and PyTorch warns of that.
                warnings.simplefilter("ignore")
                self.graphed = torch.cuda.make_graphed_callables(
                    self._passes(amp), (images.clone(), view.clone()), allow_unused_input=True
                )
        except RuntimeError:  # a wait in someone's network, or no memory: go on without
            self.graphed = None
        with torch.no_grad():
            for buffer, value in zip(self.network.buffers(), before):
                buffer.copy_(value)
