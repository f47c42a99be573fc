"""The Beta(alpha, alpha) distribution of mixing weights, drawn from an explicit generator."""

import torch


def draw_beta(alpha: float, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` draws: (count,) float64 in 0..1.

    One uniform number each, through the inverse of the distribution function.
    """
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    if alpha == 1:
        return uniform
    # Imported here because it takes time that the published Beta(1, 1) does not need.
    from scipy.special import betaincinv

    return torch.from_numpy(betaincinv(alpha, alpha, uniform.numpy()))


def draw_dirichlet(
    alpha: float, shape: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """Rows of positive weights that sum to 1, all alphas the same: (n, k) float64."""
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    if alpha == 1:
        gamma = -(1 - uniform).log()
    else:
        from scipy.special import gammaincinv

        gamma = torch.from_numpy(gammaincinv(alpha, uniform.numpy()))
    gamma = gamma + 1e-30  # a row of zeros has equal weights
    return gamma / gamma.sum(dim=1, keepdim=True)
