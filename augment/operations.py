"""The operations of AutoAugment's family on bytes.

Each takes a batch, and one strength for all images or one for each. Results are torchvision's to
the byte (torchvision.transforms.autoaugment, which has one strength a call). Strengths are drawn on
the CPU, so `operate` sorts images by operation without waiting for a GPU.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from augment.warp import rotation, shift_and_shear, warp

Pixels = torch.Tensor
"""(B, 3, H, W) uint8."""


class Operation(NamedTuple):
    """The operations at one place of a policy: names (n,), strengths (n,) float64; n is 1 or B."""

    names: Sequence[str]
    strengths: torch.Tensor


def operate(pixels: Pixels, operation: Operation, mode: str = "nearest") -> Pixels:
    """Each image with its own operation and strength, or all with the only one.

    mode: "nearest" or "bilinear", for what moves pixels.
    """
    names, strengths = operation
    if len(set(names)) == 1:
        return changed(pixels, names[0], strengths, mode)
    order = sorted(range(len(names)), key=names.__getitem__)
    rows = torch.tensor(order)
    groups = [(name, len(list(group))) for name, group in itertools.groupby(sorted(names))]
    counts = [count for _, count in groups]
    moved = pixels[rows.to(pixels.device, non_blocking=True)].split(counts)
    parts = [
        changed(part, name, strength, mode)
        for (name, _), part, strength in zip(groups, moved, strengths[rows].split(counts))
    ]
    return torch.cat(parts)[rows.argsort().to(pixels.device, non_blocking=True)]


def on_device(strengths: torch.Tensor, pixels: Pixels) -> torch.Tensor:
    """(n,) -> (n, 1, 1, 1), float64."""
    return strengths.to(pixels.device, non_blocking=True)[:, None, None, None]


def shear_x(pixels: Pixels, strengths: torch.Tensor) -> torch.Tensor:
    """About the upper left corner."""
    half = pixels.shape[2] / 2
    return shift_and_shear(len(strengths), shear_x=strengths, shift_x=strengths * half)


def shear_y(pixels: Pixels, strengths: torch.Tensor) -> torch.Tensor:
    """About the upper left corner."""
    half = pixels.shape[3] / 2
    return shift_and_shear(len(strengths), shear_y=strengths, shift_y=strengths * half)


def translate_x(pixels: Pixels, strengths: torch.Tensor) -> torch.Tensor:
    return shift_and_shear(len(strengths), shift_x=-strengths.trunc())


def translate_y(pixels: Pixels, strengths: torch.Tensor) -> torch.Tensor:
    return shift_and_shear(len(strengths), shift_y=-strengths.trunc())


def rotate(pixels: Pixels, strengths: torch.Tensor) -> torch.Tensor:
    return rotation(strengths)


WARPS: dict[str, Callable[[Pixels, torch.Tensor], torch.Tensor]] = {
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "Rotate": rotate,
}
"""(pixels, strengths (n,) float64) -> matrices (n, 2, 3) for `warp`."""


def changed(pixels: Pixels, name: str, strengths: torch.Tensor, mode: str) -> Pixels:
    """The operation of that name; black comes in from outside. mode: that of `warp`."""
    if name not in WARPS:
        return COLOURS[name](pixels, strengths)
    theta = WARPS[name](pixels, strengths).to(pixels.device, non_blocking=True)
    moved = warp(pixels.float(), theta, mode)
    return (moved if mode == "nearest" else moved.round()).to(torch.uint8)


def blend(pixels: Pixels, other: torch.Tensor | float, strengths: torch.Tensor) -> Pixels:
    """(1 + strength) * pixels - strength * other, cut to bytes."""
    ratio = 1 + on_device(strengths, pixels)
    mixed = ratio.float() * pixels + (1 - ratio).float() * other
    return mixed.clamp(0, 255).to(torch.uint8)


def gray(pixels: Pixels) -> Pixels:
    """The luma: (B, 1, H, W)."""
    red, green, blue = pixels.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).to(torch.uint8)[:, None]


def brightness(pixels: Pixels, strengths: torch.Tensor) -> Pixels:
    return blend(pixels, 0.0, strengths)


def colour(pixels: Pixels, strengths: torch.Tensor) -> Pixels:
    return blend(pixels, gray(pixels), strengths)


def contrast(pixels: Pixels, strengths: torch.Tensor) -> Pixels:
    return blend(pixels, gray(pixels).float().mean(dim=(1, 2, 3), keepdim=True), strengths)


def sharpness(pixels: Pixels, strengths: torch.Tensor) -> Pixels:
    """Away from, or towards, the mean of the nine pixels around; the middle one counts five."""
    if min(pixels.shape[2:]) <= 2:
        return pixels
    kernel = torch.ones(3, 3, device=pixels.device)
    kernel[1:2, 1:2] = 5  # kernel[1, 1] would wait for a GPU
    weight = (kernel / kernel.sum()).expand(3, 1, 3, 3)
    smooth = pixels.clone()  # the border stays
    inner = F.conv2d(pixels.float(), weight, groups=3).round().to(torch.uint8)
    smooth[..., 1:-1, 1:-1] = inner
    return blend(pixels, smooth, strengths)


def posterize(pixels: Pixels, strengths: torch.Tensor) -> Pixels:
    """Keeps the highest bits, as many as the strength says."""
    mask = 256 - 2 ** (8 - on_device(strengths, pixels).trunc())
    return pixels & mask.clamp(max=255).to(torch.uint8)


def solarize(pixels: Pixels, strengths: torch.Tensor) -> Pixels:
    """Inverts what is at least as bright as the strength."""
    bright = pixels >= on_device(strengths, pixels).float()
    return torch.where(bright, 255 - pixels, pixels)


def autocontrast(pixels: Pixels, strengths: torch.Tensor) -> Pixels:
    """Every channel stretched to 0..255."""
    low, high = (f(pixels, dim=(2, 3), keepdim=True).float() for f in (torch.amin, torch.amax))
    scale = 255 / (high - low)
    is_flat = high == low
    low, scale = low.masked_fill(is_flat, 0), scale.masked_fill(is_flat, 1)
    return ((pixels - low) * scale).clamp(0, 255).to(torch.uint8)


def equalize(pixels: Pixels, strengths: torch.Tensor | None = None) -> Pixels:
    """Histogram equalisation of every channel of every image.

    torchvision goes through the channels one by one, and on a GPU waits for each twice.
    """
    channels = pixels.flatten(2).long()  # (B, C, H * W)
    counts = channels.new_zeros(*channels.shape[:2], 256).scatter_add_(
        2, channels, torch.ones_like(channels)
    )
    of_brightest = counts.gather(2, channels.amax(2, keepdim=True))
    step = (channels.shape[2] - of_brightest) // 255  # (B, C, 1)
    table = ((counts.cumsum(2) + step // 2) // step.clamp(min=1)).clamp(max=255).roll(1, 2)
    table[..., 0] = 0
    equalized = torch.where(step == 0, channels, table.gather(2, channels))
    return equalized.to(torch.uint8).reshape(pixels.shape)


COLOURS: dict[str, Callable[[Pixels, torch.Tensor], Pixels]] = {
    "Identity": lambda pixels, strengths: pixels,
    "Brightness": brightness,
    "Color": colour,
    "Contrast": contrast,
    "Sharpness": sharpness,
    "Posterize": posterize,
    "Solarize": solarize,
    "AutoContrast": autocontrast,
    "Equalize": equalize,
    "Invert": lambda pixels, strengths: 255 - pixels,
}
"""By torchvision's name: (pixels, strengths (n,) float64) -> pixels. Some need no strength."""

OPERATIONS = ("Identity", *WARPS, *[name for name in COLOURS if name != "Identity"])
"""All, in torchvision's order."""

SIGNED = frozenset(
    "ShearX ShearY TranslateX TranslateY Rotate Brightness Color Contrast Sharpness".split()
)
"""Operations whose strength may be negative."""


@dataclass(frozen=True)
class Space:
    """The strengths of each operation; its range is divided into `bins` steps."""

    bins: int
    shear: float
    translate: float
    """In pixels."""
    rotate: float
    """In degrees."""
    colours: float
    """Brightness, Color, Contrast and Sharpness."""
    posterize: tuple[int, int]
    """Bits that stay at the weakest step, and how many more go at the strongest."""

    def strength(self, name: str, step: int) -> float:
        """The strength at a step, 0..bins-1; 0 where the operation has none."""
        most = {"Shear": self.shear, "Translate": self.translate, "Rotate": self.rotate}
        most = most.get(name.rstrip("XY"), self.colours)
        if name in SIGNED:
            return float(torch.linspace(0, most, self.bins)[step])
        if name == "Posterize":
            bits, fewer = self.posterize
            return float(bits - round(step / ((self.bins - 1) / fewer)))
        if name == "Solarize":
            return float(torch.linspace(255, 0, self.bins)[step])
        return 0.0
