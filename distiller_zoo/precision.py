"""The precision in which losses are computed."""

import torch


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """Half precisions become float32; float32 and float64 stay what they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
