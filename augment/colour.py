"""Stages that change colours alone: the same for every pixel.

`invert`, `channels` and `grayscale` recolour always, unless p= says otherwise; `grey` takes
everything away. They are made for questions about the teacher ("does it know an inverted image?"),
and `grey` is a control. RandomGrayscale has p 0.2 in SimCLR (T. Chen et al., ICML 2020, arXiv
2002.05709); Invert is an operation of AutoAugment's search space.
"""

import torch

from augment.base import Augmentation, Augmented, MixSettings, mix_modes
from augment.keys import Value, key
from dataset.batches import normalize_for
from dataset.spec import DatasetSpec

LUMA = (0.2989, 0.587, 0.114)
"""ITU-R 601: the weights of red, green and blue that torchvision has."""
ORDERS = {"bgr": (2, 1, 0), "brg": (2, 0, 1), "gbr": (1, 2, 0), "grb": (1, 0, 2), "rbg": (0, 2, 1)}


class Recolour(Augmentation):
    """Pixels (in 0..1) through one 3x3 matrix and an offset. No random draw."""

    offset = 0.0

    def matrix(self) -> torch.Tensor:
        """(3, 3): row c has the weights of red, green and blue in channel c of the view."""
        raise NotImplementedError

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        self.constants: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = {}

    def sample(self, batch_size: int, generator: torch.Generator) -> None:
        return None

    def apply(self, images: torch.Tensor, draw: None) -> Augmented:
        if images.device not in self.constants:
            self.constants[images.device] = self._normalised(images.device)
        weight, bias = self.constants[images.device]
        channels = images.permute(0, 2, 3, 1) @ weight + bias  # (B, H, W, 3)
        return Augmented(channels.permute(0, 3, 1, 2))

    def _normalised(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """The same map between normalised images: (3, 3), transposed, and (3,)."""
        normalize, matrix = normalize_for(self.spec, device), self.matrix().to(device)
        weight = normalize.std[:, None] * matrix.T / normalize.std
        bias = (normalize.mean @ matrix.T + self.offset - normalize.mean) / normalize.std
        return weight, bias


@mix_modes.register("invert")
class Invert(Recolour):
    """Negative colours: 1 - x of a pixel in 0..1."""

    offset = 1.0

    def matrix(self) -> torch.Tensor:
        return -torch.eye(3)


@mix_modes.register("grayscale")
class Grayscale(Recolour):
    """Three equal channels: the luma of each pixel."""

    def matrix(self) -> torch.Tensor:
        return torch.tensor(LUMA).expand(3, 3)


@mix_modes.register("channels")
class Channels(Recolour):
    """The colour channels in another order."""

    order = key("bgr", choices=ORDERS, help="where red, green and blue come from")

    def matrix(self) -> torch.Tensor:
        return torch.eye(3)[list(ORDERS[self.order])]


@mix_modes.register("grey")
class Grey(Augmentation):
    """A control: the mean colour everywhere. The view says nothing of its image."""

    def sample(self, batch_size: int, generator: torch.Generator) -> None:
        return None

    def apply(self, images: torch.Tensor, draw: None) -> Augmented:
        return Augmented(torch.zeros_like(images))
