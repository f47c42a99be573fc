"""CIFAR-10: 50,000 + 10,000 images of 32x32 pixels in 10 classes.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University
of Toronto, 2009. Read from the public Python layout,
`<root>/cifar-10-batches-py/{data_batch_1..5,test_batch}`.
"""

import torch

from dataset.cifar100 import read_batch
from dataset.download import fetch_archive, is_absent, located
from dataset.registry import DataRequest, datasets
from dataset.spec import Dataset, DatasetSpec, ImageSet

FOLDER = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
FILES = (*TRAIN_FILES, "test_batch", "batches.meta")
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


@datasets.register("cifar10")
class Cifar10:
    @staticmethod
    def spec(request: DataRequest) -> DatasetSpec:
        """Cutout's side is that of its paper (DeVries and Taylor, 2017, arXiv 1708.04552)."""
        return DatasetSpec(
            name="cifar10",
            num_classes=10,
            img_size=32,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
            crop_padding=4,
            cutout_size=16,
            autoaugment_policy="cifar10",
        )

    @staticmethod
    def load(request: DataRequest) -> Dataset:
        """Both splits, downloaded first if they are absent.

        Raises UserError if a file is absent and cannot be fetched, or is damaged.
        """
        folder = located(request, FOLDER, FILES)
        if is_absent(folder):
            fetch_archive(
                request, folder, url=URL, sha256=SHA256, needed=FILES, keep=FILES.__contains__
            )
        parts = [read_batch(folder / name, "labels", 10) for name in TRAIN_FILES]
        train = ImageSet(
            torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])
        )
        return Dataset(
            spec=Cifar10.spec(request),
            train=train.first(request.limit_train),
            test=read_batch(folder / "test_batch", "labels", 10).first(request.limit_test),
        )
