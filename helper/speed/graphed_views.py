"""The student's passes over both views on a GPU, forward and backward, as two CUDA graphs.

At batch 64 the host needs longer to launch the student's kernels than the GPU to run them.
"""

import contextlib

import torch
from torch import nn

from helper.speed.graphs import EAGER_CALLS
from helper.speed.both_views import is_understood
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

    The shapes of the first few calls get graphs; a batch of another size runs without. Gradients
    are written to the same memory at each backward pass, so they must be read, and
    `zero_grad(set_to_none=True)` called, before the next.
    """

    def __init__(self, network: nn.Module, *, keeps_view_statistics: bool = True) -> None:
        self.network, self.keeps_view_statistics = network, keeps_view_statistics
        self.norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        self.shapes: tuple | None = None
        self.calls = 0
        """One after the other, of the same shapes."""
        self.graphed: nn.Module | None = None
        self.is_refused = False
        """Whether the network's passes cannot be recorded."""

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
        shapes = (images.shape, view.shape, images.stride(), view.stride(), amp)
        if self.graphed is None and not self.is_refused:
            self.calls = self.calls + 1 if shapes == self.shapes else 1
            self.shapes = shapes
            if self.calls > EAGER_CALLS:
                self._record(images, view, amp)
        if self.graphed is None or shapes != self.shapes:
            return self._passes(amp)(images, view)
        first, second = self.graphed(images, view)
        for norm in self.norms:  # a counter on the CPU is in no graph
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked += 1 + self.keeps_view_statistics
        return first.clone(), second.clone()

    def _passes(self, amp: bool) -> BothPasses:
        return BothPasses(self.network, amp=amp, keeps_view_statistics=self.keeps_view_statistics)

    def _record(self, images: torch.Tensor, view: torch.Tensor, amp: bool) -> None:
        """Make the graphs. The passes that this takes leave no trace in BatchNorm's statistics."""
        before = [buffer.clone() for buffer in self.network.buffers()]
        try:
            self.graphed = torch.cuda.make_graphed_callables(
                self._passes(amp), (images.clone(), view.clone()), allow_unused_input=True
            )
        except RuntimeError:  # a wait in someone's network, or no memory: go on without
            self.is_refused = True
        with torch.no_grad():
            for buffer, value in zip(self.network.buffers(), before):
                buffer.copy_(value)
