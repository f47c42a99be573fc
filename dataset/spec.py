"""The facts of a data set that the rest of the code may know."""

import hashlib
from dataclasses import dataclass

import torch

from dataset.image_files import ImageFiles

LIGHT_STUDENTS = ("MobileNetV2", "MobileNetV2_1_0", "ShuffleV1", "ShuffleV2", "ShuffleV2_1_5")
"""They learn better at the data set's `light_student_lr`."""


@dataclass(frozen=True)
class DatasetSpec:
    """The facts of a data set. `mean` and `std` are per RGB channel, for pixels scaled to 0..1."""

    name: str
    num_classes: int
    img_size: int
    """Height and width in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    """Black pixels added on each side before the random crop."""
    cutout_size: int
    """Side of the cutout hole in pixels."""
    autoaugment_policy: str
    """"cifar10", "imagenet" or "svhn", torchvision's names."""
    default_da: str = "11"
    """The default DA of every training image, see --use_DA: random crop and random flip, 1 or 0
    each."""
    class_ids: tuple[str, ...] = ()
    """The wnids of ImageNet's classes, in the classes' order, where they are known before the
    data are read."""
    light_student_lr: float | None = None
    """Learning rate of LIGHT_STUDENTS unless the user gives one; None: no such rule."""
    class_names: tuple[str, ...] = ()
    """Class k's name; empty where the public order of the classes is known."""

    def learning_rate(self, model_name: str) -> float:
        """The published learning rate of a model on this data set."""
        if self.light_student_lr is not None and model_name in LIGHT_STUDENTS:
            return self.light_student_lr
        return 0.05


@dataclass(frozen=True)
class ImageSet:
    """One split, decoded, in memory or mapped to memory from a file.

    images: (N, H, W, 3) uint8, RGB, C-contiguous. labels: (N,) int64 in 0..K-1.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> "ImageSet":
        """The first `count` examples, not copied; all of them if `count` is None."""
        return self if count is None else ImageSet(self.images[:count], self.labels[:count])

    def digest(self) -> str:
        """SHA-256 of all images and labels."""
        parts = (self.images, self.labels)
        sha = hashlib.sha256(str([part.shape for part in parts]).encode())
        for part in parts:
            sha.update(part.cpu().contiguous().numpy().data)
        return sha.hexdigest()

    def to(self, device: torch.device | str) -> "ImageSet":
        """On the device; itself if it is there already."""
        return ImageSet(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """A data set: its facts and its two splits, both decoded or both streamed from image files."""

    spec: DatasetSpec
    train: ImageSet | ImageFiles
    test: ImageSet | ImageFiles | None
    """None: there is no test set, and what --dev_split holds out of the training set takes its
    place."""
    notes: tuple[str, ...] = ()
    """Lines for log.txt about the data, beside the facts."""

    def fingerprint(self) -> str:
        """Tells these images and labels from any others (image files: their names and labels).

        16 digits.
        """
        test = "no test set" if self.test is None else self.test.digest()
        return hashlib.sha256(f"{self.train.digest()} {test}".encode()).hexdigest()[:16]
