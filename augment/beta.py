"""The Beta(alpha, alpha) distribution of mixing weights, drawn from an explicit generator."""

import torch


def draw_beta(alpha: float, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` draws: (count,) float64 in 0..1. One uniform number each, through the inverse of the distribution function."""
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    if alpha == 1:
        return uniform
    # Imported here because it takes time that the published Beta(1, 1) does not need.
    from scipy.special import betaincinv

    return torch.from_numpy(betaincinv(alpha, alpha, uniform.numpy()))
