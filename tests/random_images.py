"""Random images as augmentations get them, and the specification of CIFAR-100."""

import numpy as np
import torch

from augment import PoolLogits
from dataset import DatasetSpec
from dataset.batches import Normalize

CIFAR = DatasetSpec(
    "cifar100", 100, 32, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761), 4, 8, "cifar10"
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images_of(seed, count, side):
    """(B, 3, side, side) float32, normal."""
    values = np.random.RandomState(seed).standard_normal((count, 3, side, side))
    return torch.from_numpy(values.astype(np.float32))


def pixels_of(seed=4, count=5, side=32):
    """(B, 3, side, side) uint8, and the same normalised."""
    values = np.random.RandomState(seed).randint(0, 256, (count, 3, side, side), dtype=np.uint8)
    pixels = torch.from_numpy(values)
    return pixels, Normalize(CIFAR)(pixels.permute(0, 2, 3, 1))


def pick_logits():
    """Logits of a pool of 16 views, and of the 8 images."""

    def rows(seed, count, scale):
        values = np.random.RandomState(seed).standard_normal((count, 10)).astype(np.float32)
        return torch.from_numpy(values * np.float32(scale))

    return PoolLogits(
        teacher=rows(32, 16, 4), student=rows(33, 16, 2), teacher_clean=rows(34, 8, 4)
    )
