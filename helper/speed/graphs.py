"""A frozen network's pass on a GPU as a CUDA graph: one launch in place of a hundred.

At batch 64 these networks are bound by the time that the host needs to launch their kernels. A
graph replays the kernels of an earlier pass, so the logits are the same to the bit.
"""

from collections import Counter
from collections.abc import Callable

import torch

EAGER_CALLS = 2
"""Passes of a shape before its graph is made: libraries choose their kernels, allocate their work
space, and a last batch of another size needs no graph at all."""
MOST_GRAPHS = 4
"""Shapes that have a graph; each keeps the memory of one pass."""
MOST_VALUES = 512 * 3 * 32 * 32
"""Of a batch with a graph: larger ones keep the GPU busy for longer than their launches take."""
Recorded = tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]
"""The graph, the images that it reads, the logits that it writes."""


class Graphs:
    """Images (B, 3, H, W) on a GPU -> logits (B, K), memory of the caller's own."""

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """`run`: the pass. It must not wait for the GPU, nor depend on anything but its images."""
        self.run = run
        self.calls: Counter[tuple] = Counter()
        self.recorded: dict[tuple, Recorded | None] = {}
        """None where the pass cannot be recorded."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        key = (images.shape, images.stride(), images.dtype, images.device)
        self.calls[key] += 1
        may_record = key not in self.recorded and images.numel() <= MOST_VALUES
        if may_record and self.calls[key] > EAGER_CALLS and len(self.recorded) < MOST_GRAPHS:
            self.recorded[key] = self._record(images)
        if (recorded := self.recorded.get(key)) is None:
            return self.run(images).clone()
        graph, static, logits = recorded
        static.copy_(images)
        graph.replay()
        return logits.clone()

    def _record(self, images: torch.Tensor) -> Recorded | None:
        static = images.clone()
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                logits = self.run(static)
        except RuntimeError:  # a wait in someone's network, or no memory: go on without
            return None
        return graph, static, logits
