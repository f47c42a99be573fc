"""What the rest of the code may know about a data set."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class DatasetSpec:
    """The facts of a data set. `mean` and `std` are per RGB channel, for pixels scaled to 0..1."""

    name: str
    num_classes: int
    img_size: int
    """Height and width in pixels."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_padding: int
    """Black pixels added on each side before the random crop."""
    cutout_size: int
    """Side of the cutout hole in pixels."""
    autoaugment_policy: str
    """"cifar10", "imagenet" or "svhn", torchvision's names."""
    light_student_lr: float | None = None
    """Learning rate of MobileNetV2, ShuffleV1 and ShuffleV2 unless the user gives one; None: no such rule."""


@dataclass(frozen=True)
class ImageSet:
    """One split, whole in memory.

    images: (N, H, W, 3) uint8, RGB, C-contiguous. labels: (N,) int64 in 0..K-1.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> "ImageSet":
        """The first `count` examples; all of them if `count` is None."""
        return self if count is None else ImageSet(self.images[:count], self.labels[:count])


@dataclass(frozen=True)
class Dataset:
    """A data set in memory: its facts and its two splits."""

    spec: DatasetSpec
    train: ImageSet
    test: ImageSet
