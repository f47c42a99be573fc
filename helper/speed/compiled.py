"""--compile: the networks through torch.compile, where that works on this machine."""

from collections.abc import Sequence

import torch
from torch import nn

from helper.speed.frozen import FrozenCopy

RECOMPILE_LIMIT = 32
"""Programs for one network: training and evaluation, whole and last batches, with and without
gradient."""


def compile_networks(networks: Sequence[nn.Module | None], device: torch.device) -> list[str]:
    """Compile them in place: names, state dicts and modes stay.

    Returns a line that says what came of it.

    On a GPU the programs are CUDA graphs. Every batch shape has a program of its own, made when it
    first comes. Where the compiler does not work the networks stay as they are; what it cannot
    compile later runs uncompiled.
    """
    config = torch._dynamo.config
    # It is recompile_limit since torch 2.7; the older name still works.
    config.cache_size_limit = max(RECOMPILE_LIMIT, config.cache_size_limit)
    if reason := why_not(device):
        return [f"warning: --compile has no effect: {reason}"]
    config.suppress_errors = True
    make_repeatable()
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    for network in networks:
        if network is not None:
            inner = network.network if isinstance(network, FrozenCopy) else network
            inner.compile(dynamic=False, mode=mode)
    return ["the networks are compiled; the first steps take a minute"]


def make_repeatable() -> None:
    """Let no timing choose between programs that round differently, where PyTorch offers it."""
    from torch._inductor import config

    if hasattr(config, "deterministic"):
        config.deterministic = True


def why_not(device: torch.device) -> str:
    """Empty if a small function and its gradient can be compiled here.

    Else what went wrong, in one line.
    """

    def small(x: torch.Tensor) -> torch.Tensor:
        return (x.sin() + 1).square().sum()

    try:
        torch.compile(small, dynamic=False)(
            torch.ones(64, device=device, requires_grad=True)
        ).backward()
    except Exception as error:  # whatever a compiler may throw, the run goes on without it
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:200]
    return ""
