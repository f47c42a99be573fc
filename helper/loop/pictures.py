"""Pictures of the second view, for the eye: does the augmentation do what its name says?"""

from dataclasses import dataclass

import torch

from dataset.batches import normalize_for
from dataset.spec import DatasetSpec
from helper.run.folder import RunFolder
from helper.step.passes import TwoViews


@dataclass
class ViewPictures:
    """An observer: the first batch and its second view on TensorBoard, and those of every
    `interval`-th step, these as a PNG too."""

    run: RunFolder
    spec: DatasetSpec
    interval: int

    def __call__(self, step: int, images: torch.Tensor, seen: TwoViews) -> None:
        undo = normalize_for(self.spec, images.device).undo
        self.run.picture("batch", undo(images), step, as_png=step > 0)
        if seen.view is not None:
            self.run.picture("second_view", undo(seen.view.images), step, as_png=step > 0)
