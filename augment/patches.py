"""Patches of the image in another order, as in a jigsaw puzzle.

M. Noroozi, P. Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles",
ECCV 2016, arXiv 1603.09246, where a 3x3 grid is a pretext task; here the shuffled image is the
view. One order serves the whole batch (unless draw=sample); all orders are as likely, that of the
image among them.
"""

import torch

from augment.base import Augmentation, Augmented, MixSettings, mix_modes
from augment.keys import Value, key
from dataset.spec import DatasetSpec
from helper.errors import UserError


@mix_modes.register("patches")
class Patches(Augmentation):
    """Patches of a grid shuffled."""

    paper = "Noroozi 2016, arXiv 1603.09246"

    grid = key(2, 2, 56, "patches along a side; it divides the image's side")

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        if spec.img_size % self.grid:
            raise UserError(
                f"grid={self.grid} does not divide the {spec.img_size} pixels of a side"
            )

    def sample(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        """(n, grid * grid) int64: which patch comes to each place."""
        return torch.rand(self.draws(batch_size), self.grid**2, generator=generator).argsort(1)

    def apply(self, images: torch.Tensor, draw: torch.Tensor) -> Augmented:
        grid, (height, width) = self.grid, images.shape[2:]
        order = draw.to(images.device, non_blocking=True)
        rows = torch.arange(len(images), device=images.device)[:, None]  # (B, 1)
        tiles = images.permute(0, 2, 3, 1).unflatten(2, (grid, -1)).unflatten(1, (grid, -1))
        tiles = tiles.transpose(2, 3).flatten(1, 2)[rows, order]  # (B, grid * grid, h, w, 3)
        tiles = tiles.unflatten(1, (grid, grid)).transpose(2, 3)  # (B, grid, h, grid, w, 3)
        return Augmented(tiles.reshape(-1, height, width, 3).permute(0, 3, 1, 2))
