"""Images resampled along rows and columns by matrices of weights.

A matrix is (n, new pixels, old pixels); n is 1 or B.
"""

import torch


def resampled(images: torch.Tensor, *, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """rows (n, H, H) @ images (B, 3, H, W) float @ columns (n, W, W), transposed.

    Returns (B, 3, H, W), in channels_last memory.
    """
    result = rows[:, None] @ images @ columns.mT[:, None]  # (B, 3, H, W)
    return result.contiguous(memory_format=torch.channels_last)


def stretch(start: torch.Tensor, stop: torch.Tensor, size: int) -> torch.Tensor:
    """Bilinear weights that stretch start..stop to `size` pixels: (n, 1) each -> (n, size, size).

    Row i of the result has the weights of the old pixels in the new pixel i.
    """
    places = torch.arange(size, device=start.device)
    position = start + (places + 0.5) * (stop - start) / size - 0.5  # (n, size), of the new pixels
    position = position.clamp(start, stop - 1)  # the border is repeated
    return (1 - (position[:, :, None] - places).abs()).clamp(min=0)


def shrink(start: torch.Tensor, stop: torch.Tensor, size: int) -> torch.Tensor:
    """Weights that shrink `size` pixels into start..stop: (n, 1) each -> (n, size, size).

    Each new pixel is a weighted mean of those that it covers: bilinear with antialiasing, as in
    interpolate(antialias=True). Rows outside start..stop are of no use. See `stretch`.
    """
    places = torch.arange(size, device=start.device)
    scale = size / (stop - start)  # (n, 1), at least 1
    position = (places + 0.5 - start) * scale - 0.5  # (n, size)
    weights = 1 - (position[:, :, None] - places).abs() / scale[:, :, None]
    weights = weights.clamp(min=0)
    return weights / weights.sum(dim=2, keepdim=True).clamp(min=1e-6)


def blurring(sigma: torch.Tensor, radius: int, size: int) -> torch.Tensor:
    """Gaussian weights over 2 * radius + 1 pixels: (n,) in pixels -> (n, size, size).

    They are mirrored at the border.
    """
    offsets = torch.arange(-radius, radius + 1, device=sigma.device)
    kernel = torch.softmax(-0.5 * (offsets / sigma[:, None]) ** 2, dim=1)  # (n, k)
    places = torch.arange(size, device=sigma.device)
    columns = (places[:, None] + offsets).abs()  # (size, k)
    columns = size - 1 - (size - 1 - columns).abs()
    chosen = (columns[..., None] == places).to(kernel.dtype)  # (size, k, size)
    return torch.einsum("nk,hkw->nhw", kernel, chosen)
