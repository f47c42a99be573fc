"""Affine maps of images: a matrix for all, or one each."""

import torch
import torch.nn.functional as F


def warp(images: torch.Tensor, theta: torch.Tensor, mode: str) -> torch.Tensor:
    """Pixel (x, y) of the result is read at theta @ (x, y, 1); the image's centre is (0, 0).

    images: (B, C, H, W) float. theta: (n, 2, 3) float32 on their device, n 1 or B. mode: "nearest",
    "bilinear". What lies outside is 0.
    """
    height, width = images.shape[2:]
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    places = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones_like(x + y[:, None])], 2)
    scaled = torch.stack([theta[:, 0] / (width / 2), theta[:, 1] / (height / 2)], dim=2)
    grid = places.view(1, -1, 3).expand(len(theta), -1, -1) @ scaled  # (n, H * W, 2)
    grid = grid.view(-1, height, width, 2).expand(len(images), -1, -1, -1)
    moved = F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)


def rotation(degrees: torch.Tensor) -> torch.Tensor:
    """Matrices for `warp` that turn an image anticlockwise: (n,) -> (n, 2, 3) float32."""
    angle = degrees.double().deg2rad()
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3).float()


def shift_and_shear(
    count: int,
    *,
    shift_x: torch.Tensor | float = 0.0,
    shift_y: torch.Tensor | float = 0.0,
    shear_x: torch.Tensor | float = 0.0,
    shear_y: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """Matrices (count, 2, 3) float32 with these entries, each (count,) or one number."""
    theta = torch.eye(2, 3, dtype=torch.float64).repeat(count, 1, 1)
    theta[:, 0, 2], theta[:, 1, 2] = shift_x, shift_y
    theta[:, 0, 1], theta[:, 1, 0] = shear_x, shear_y
    return theta.float()
