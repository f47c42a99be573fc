"""What every second view has in common: its settings, its result, and the split of drawing from applying."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from dataset.spec import DatasetSpec
from helper.registry import Registry


@dataclass(frozen=True)
class MixSettings:
    """The options that mix modes share."""

    draw: Literal["batch", "sample"] = "batch"
    """One random draw for the whole batch, as the published numbers have it, or one per image."""
    n_run: int = 1
    """cutmix_pick: how many cutmixes of the batch make the pool."""
    box: str = "rand_bbox"
    """cutmix: how the box is drawn, a key of `augment.boxes.draw_box`."""
    ceiling: Callable[[int], float] = lambda epoch: 1.0
    """cutmix: epoch, counted from 1 -> upper bound of lam."""
    floor: Callable[[int], float] = lambda epoch: 0.0
    """cutmix: epoch -> lower bound of lam."""


@dataclass(frozen=True)
class Augmented:
    """P views of a batch of B images.

    images: (P, 3, H, W), normalised. partner: (P,) row of the image mixed in, None when nothing is mixed.
    lam: (P,) float32 weight of the ORIGINAL image, None likewise. source: (P,) row of the original image;
    None: view i comes from image i.
    """

    images: torch.Tensor
    partner: torch.Tensor | None = None
    lam: torch.Tensor | None = None
    source: torch.Tensor | None = None

    def own(self, values: torch.Tensor) -> torch.Tensor:
        """Per-image values (B, ...) of each view's original: (P, ...)."""
        return values if self.source is None else values[self.source]

    def mix(self, values: torch.Tensor) -> torch.Tensor:
        """Per-image rows (B, K) mixed as the images were: (P, K)."""
        if self.partner is None:
            return self.own(values)
        lam = self.lam[:, None].to(values.dtype)  # (P, 1)
        return lam * self.own(values) + (1 - lam) * values[self.partner]

    def take(self, keep: torch.Tensor) -> "Augmented":
        """The views at rows `keep` (Q,), in that order."""
        parts = (self.images, self.partner, self.lam, self.source)
        return Augmented(*(None if part is None else part[keep] for part in parts))


class Augmentation:
    """A mix mode. `sample` makes the random draws on the CPU, `apply` carries them out on the images' device.

    A subclass writes both. Calling it does one after the other.
    """

    def __init__(self, spec: DatasetSpec, settings: MixSettings) -> None:
        self.spec = spec
        self.settings = settings

    def start_epoch(self, epoch: int) -> None:
        """Told before each epoch, counted from 1; for modes with a schedule."""

    def draws(self, batch_size: int) -> int:
        """How many draws a batch takes: 1, or one per image."""
        return 1 if self.settings.draw == "batch" else batch_size

    def sample(self, batch_size: int, generator: torch.Generator) -> Any:
        raise NotImplementedError

    def apply(self, images: torch.Tensor, draw: Any) -> Augmented:
        """images: (B, 3, H, W), normalised; they stay as they are."""
        raise NotImplementedError

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> Augmented:
        return self.apply(images, self.sample(len(images), generator))


def concatenate(views: list[Augmented]) -> Augmented:
    """Several mixed views of one batch of B images as one pool: view 0's images first."""
    count = len(views[0].images)
    source = torch.arange(count, device=views[0].images.device).repeat(len(views))
    return Augmented(
        images=torch.cat([view.images for view in views]),
        partner=torch.cat([view.partner for view in views]),
        lam=torch.cat([view.lam for view in views]),
        source=source,
    )


mix_modes: Registry[type[Augmentation]] = Registry("mix mode")
