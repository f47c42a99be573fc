"""Random draws that stages share: mixing weights, partners and boxes; and a box's mask and share.

All draws are made on the CPU from an explicit generator. A box is (x1, y1, x2, y2) in pixels,
half-open; x counts columns, y rows. Boxes are (n, 4) int64 on the CPU, where n is 1 (one for the
batch) or B.
"""

import math
from collections.abc import Callable

import torch

Boxes = torch.Tensor


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


def scale_lam(lam: torch.Tensor, floor: float, ceiling: float) -> torch.Tensor:
    """Draws from 0..1 moved to floor..ceiling."""
    return floor + (ceiling - floor) * lam


def derangement(count: int, generator: torch.Generator) -> torch.Tensor:
    """A uniform permutation of 0..count-1 that leaves nothing in its place: (count,) int64.

    Redrawn until it fits, e = 2.7 times on average. A batch of one has no other image: it is its
    own partner.
    """
    rows = torch.arange(count)
    while True:
        permutation = torch.randperm(count, generator=generator)
        if count < 2 or not (permutation == rows).any():
            return permutation


def centred_boxes(
    center_x: torch.Tensor,
    center_y: torch.Tensor,
    half_width: torch.Tensor,
    half_height: torch.Tensor,
    *,
    height: int,
    width: int,
) -> Boxes:
    """Boxes of 2 * half around the centres, clipped at the border. Each argument: (n,).

    Returns (n, 4).
    """
    return torch.stack(
        [
            (center_x - half_width).clamp(0, width),
            (center_y - half_height).clamp(0, height),
            (center_x + half_width).clamp(0, width),
            (center_y + half_height).clamp(0, height),
        ],
        dim=1,
    )


def cut_side(lam: torch.Tensor, side: int) -> torch.Tensor:
    """Pixels of a side to cut, so that about 1 - lam of the area goes: (n,) -> (n,) int64."""
    return (side * (1 - lam).sqrt()).long()


def rand_bbox(lam: torch.Tensor, height: int, width: int, generator: torch.Generator) -> Boxes:
    """CutMix's box: its centre is uniform over the pixels, and the border clips it.

    S. Yun et al., "CutMix", ICCV 2019, arXiv 1905.04899. An odd side shrinks by one pixel.
    """
    center_x = torch.randint(width, lam.shape, generator=generator)
    center_y = torch.randint(height, lam.shape, generator=generator)
    half_width, half_height = cut_side(lam, width) // 2, cut_side(lam, height) // 2
    return centred_boxes(center_x, center_y, half_width, half_height, height=height, width=width)


def square_rand_bbox(
    lam: torch.Tensor, height: int, width: int, generator: torch.Generator
) -> Boxes:
    """A box of the full drawn size, uniform over the places where it fits into the image."""
    cut_width, cut_height = cut_side(lam, width), cut_side(lam, height)
    x1 = uniform_int(width - cut_width + 1, generator)
    y1 = uniform_int(height - cut_height + 1, generator)
    return torch.stack([x1, y1, x1 + cut_width, y1 + cut_height], dim=1)


def simpler_rand_bbox(
    lam: torch.Tensor, height: int, width: int, generator: torch.Generator
) -> Boxes:
    """Upper left corner uniform, then lower right corner uniform beyond it; lam plays no part."""
    x1 = torch.randint(width, lam.shape, generator=generator)
    y1 = torch.randint(height, lam.shape, generator=generator)
    x2 = x1 + 1 + uniform_int(width - x1, generator)
    y2 = y1 + 1 + uniform_int(height - y1, generator)
    return torch.stack([x1, y1, x2, y2], dim=1)


ATTEMPTS = 10


def area_boxes(
    scale: tuple[float, float], ratio: tuple[float, float], shape: tuple[int, int, int],
    generator: torch.Generator,
) -> tuple[Boxes, torch.Tensor]:  # fmt: skip
    """Boxes anywhere in the image: area uniform in `scale`, width / height log-uniform in `ratio`.

    shape: (how many, H, W). Returns (n, 4), and (n,) bool: False where none of ten attempts fitted
    the image, as in torchvision's RandomResizedCrop and RandomErasing.
    """
    count, height, width = shape
    uniform = torch.rand(2, count, ATTEMPTS, generator=generator, dtype=torch.float64)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * uniform[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = (low + (high - low) * uniform[1]).exp()
    wide, high = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (wide >= 1) & (high >= 1) & (wide <= width) & (high <= height)  # (n, ATTEMPTS)
    first = fits.int().argmax(dim=1, keepdim=True)
    wide, high = (each.gather(1, first)[:, 0].long() for each in (wide, high))
    left = uniform_int((width - wide).clamp(min=0) + 1, generator)
    top = uniform_int((height - high).clamp(min=0) + 1, generator)
    return torch.stack([left, top, left + wide, top + high], dim=1), fits.any(dim=1)


def uniform_int(bound: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Whole numbers uniform over 0..bound-1, a bound each: (n,) int64 -> (n,) int64."""
    return (torch.rand(bound.shape, generator=generator, dtype=torch.float64) * bound).long()


draw_box: dict[str, Callable[[torch.Tensor, int, int, torch.Generator], Boxes]] = {
    "rand_bbox": rand_bbox,
    "square_rand_bbox": square_rand_bbox,
    "simpler_rand_bbox": simpler_rand_bbox,
}


def box_mask(
    boxes: Boxes, height: int, width: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """(n, 4) boxes -> (n, 1, H, W) bool on `device`, True inside.

    Rows and columns are compared on the CPU: a GPU has a copy and one operation to do.
    """
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)  # each (n, 1)
    rows, columns = torch.arange(height), torch.arange(width)
    inside_rows = (rows >= y1) & (rows < y2)  # (n, H)
    inside_columns = (columns >= x1) & (columns < x2)  # (n, W)
    both = torch.cat([inside_rows, inside_columns], dim=1).to(device, non_blocking=True)
    inside_rows, inside_columns = both.split([height, width], dim=1)
    return (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]


def kept_share(boxes: Boxes, height: int, width: int) -> torch.Tensor:
    """The share of the image's area outside each box: (n, 4) -> (n,) float64, exact."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return 1 - area.double() / (height * width)
