"""Pictures of the second view, for the eye: does the augmentation do what its name says?"""

from dataclasses import dataclass

import torch

from dataset.batches import normalize_for
from dataset.spec import DatasetSpec
from helper.run.folder import RunFolder
from helper.step.views import TwoViews


@dataclass
class ViewPictures:
    """An observer: a run's first batch and its second view on TensorBoard; every `interval` steps a
    PNG too."""

    run: RunFolder
    spec: DatasetSpec
    interval: int
    step: int = 0
    """The run's steps so far."""

    def __call__(self, images: torch.Tensor, seen: TwoViews) -> None:
        due = self.step > 0 and self.step % self.interval == 0
        if self.step == 0 or due:
            undo = normalize_for(self.spec, images.device).undo
            self.run.picture("batch", undo(images), self.step, as_png=due)
            if seen.view is not None:
                self.run.picture("second_view", undo(seen.view.images), self.step, as_png=due)
        self.step += 1
