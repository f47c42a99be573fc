"""The base of every second view: its keys, its result, and drawing apart from applying."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from augment.keys import Key, Value, key
from dataset.spec import DatasetSpec
from helper.errors import UserError, unknown_name
from helper.registry import Registry


@dataclass(frozen=True)
class MixSettings:
    """Settings that the stages of a run share.

    `n_run` and `box` are keys of a stage that has none of its own.
    """

    draw: Literal["batch", "sample"] = "batch"
    """One random draw for the whole batch, as the published numbers have it, or one per image."""
    ceiling: Callable[[int], float] = lambda epoch: 1.0
    """cutmix: epoch, counted from 1 -> upper bound of lam."""
    floor: Callable[[int], float] = lambda epoch: 0.0
    """cutmix: epoch -> lower bound of lam."""


@dataclass(frozen=True)
class Augmented:
    """P views of a batch of B images, and what they are made of.

    images: (P, 3, H, W), normalised. source: (P,) row of the original image; None: view i comes
    from image i. Where other images are mixed in, lam: (P,) float32 weight of the ORIGINAL image.
    With one other image, partner: (P,) is its row and 1 - lam its weight. With S of them, partner
    is (P, S) and shares (P, S) float32 are their weights; lam and a view's shares sum to 1. All
    three are None where nothing is mixed.
    """

    images: torch.Tensor
    partner: torch.Tensor | None = None
    lam: torch.Tensor | None = None
    source: torch.Tensor | None = None
    shares: torch.Tensor | None = None

    def own(self, values: torch.Tensor) -> torch.Tensor:
        """Per-image values (B, ...) of each view's original: (P, ...)."""
        return values if self.source is None else values[self.source]

    def mix(self, values: torch.Tensor) -> torch.Tensor:
        """Per-image rows (B, K) mixed as the images were: (P, K)."""
        if self.partner is None:
            return self.own(values)
        assert self.lam is not None
        lam = self.lam[:, None].to(values.dtype)  # (P, 1)
        if self.shares is None:
            return lam * self.own(values) + (1 - lam) * values[self.partner]
        others = self.shares[:, :, None].to(values.dtype) * values[self.partner]  # (P, S, K)
        return lam * self.own(values) + others.sum(dim=1)

    def take(self, keep: torch.Tensor | slice) -> "Augmented":
        """The views at rows `keep` (Q,), in that order."""
        parts = (self.partner, self.lam, self.source, self.shares)
        return Augmented(
            self.images[keep], *(None if part is None else part[keep] for part in parts)
        )


class Augmentation:
    """A stage.

    `sample` makes the random draws on the CPU, `apply` carries them out on the images' device.

    A subclass writes both; calling it does one after the other. Its keys are class attributes made
    by `key`.
    """

    p = key(1.0, 0, 1, "how often it happens")
    draw = key(None, choices=("batch", "sample"), help="one draw a batch or an image; --mix_draw")
    mixes: ClassVar[bool] = False
    """Whether a view holds other images of the batch."""
    paper: ClassVar[str] = ""
    """Who published it, for --list."""
    draws_its_p: bool = False
    """Whether `sample` reads p itself."""

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        """Raises UserError for a key that is unknown or out of its range."""
        self.spec = spec
        self.settings = settings
        keys = self.keys()
        for name in values:
            check_key(type(self).__name__, name, keys)
        for name, one in keys.items():
            value = values.get(name)
            setattr(self, name, one.default if value is None else one.read(value))
        self.draw = self.draw or settings.draw

    @classmethod
    def keys(cls) -> dict[str, Key]:
        """Name -> key, those of all stages first."""
        return {
            name: value
            for base in reversed(cls.__mro__)
            for name, value in vars(base).items()
            if isinstance(value, Key)
        }

    def start_epoch(self, epoch: int) -> None:
        """Told before each epoch, counted from 1; for stages with a schedule."""

    def draws(self, batch_size: int) -> int:
        """How many draws a batch takes: 1, or one per image."""
        return 1 if self.draw == "batch" else batch_size

    def sample(self, batch_size: int, generator: torch.Generator) -> Any:
        """All random draws for a batch of B images, on the CPU; None where there are none.

        Tensors have n rows, where n is `self.draws(batch_size)`: 1 or B.
        """
        raise NotImplementedError

    def apply(self, images: torch.Tensor, draw: Any) -> Augmented:
        """images: (B, 3, H, W) float32, normalised; they stay as they are.

        draw: what `sample` has made. The views are float32, in channels_last memory.
        """
        raise NotImplementedError

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> Augmented:
        return self.apply(images, self.sample(len(images), generator))


def check_ranges(stage: Augmentation, *names: str) -> None:
    """UserError if NAME_min is above NAME_max."""
    for name in names:
        low, high = getattr(stage, f"{name}_min"), getattr(stage, f"{name}_max")
        if low > high:
            raise UserError(f"{name}_min={low:g} is above {name}_max={high:g}")


def check_key(stage: str, name: str, keys: dict[str, Key]) -> None:
    """UserError with the nearest key if `name` is none of the stage's."""
    if name not in keys:
        raise unknown_name(f"key of {stage}", name, keys)


def concatenate(views: list[Augmented]) -> Augmented:
    """Several views of one batch of B images as one pool: view 0's images first."""
    count = len(views[0].images)
    source = torch.arange(count, device=views[0].images.device).repeat(len(views))

    def joined(name: str) -> torch.Tensor | None:
        parts = [getattr(view, name) for view in views]
        return None if parts[0] is None else torch.cat(parts)

    return Augmented(
        torch.cat([view.images for view in views]),
        joined("partner"),
        joined("lam"),
        source,
        joined("shares"),
    )


mix_modes: Registry[type[Augmentation]] = Registry("mix mode")
