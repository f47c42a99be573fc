"""CIFAR-100: 50,000 + 10,000 images of 32x32 pixels in 100 classes.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University
of Toronto, 2009. Read from the public Python layout, `<root>/cifar-100-python/{train,test}`.
"""

from pathlib import Path

import numpy as np
import torch

from dataset.download import fetch_archive, is_absent, located
from dataset.registry import DataRequest, datasets
from dataset.restricted_pickle import load_arrays
from dataset.spec import Dataset, DatasetSpec, ImageSet
from helper.errors import UserError

FOLDER = "cifar-100-python"
FILES = ("train", "test", "meta")
URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"


@datasets.register("cifar100")
class Cifar100:
    @staticmethod
    def spec(request: DataRequest) -> DatasetSpec:
        return DatasetSpec(
            name="cifar100",
            num_classes=100,
            img_size=32,
            mean=(0.5071, 0.4867, 0.4408),
            std=(0.2675, 0.2565, 0.2761),
            crop_padding=4,
            cutout_size=8,
            autoaugment_policy="cifar10",
            light_student_lr=0.01,
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
        return Dataset(
            spec=Cifar100.spec(request),
            train=read_batch(folder / "train", "fine_labels", 100).first(request.limit_train),
            test=read_batch(folder / "test", "fine_labels", 100).first(request.limit_test),
        )


def read_batch(path: Path, labels_key: str, num_classes: int) -> ImageSet:
    """One file of the public layout of CIFAR-10 and CIFAR-100.

    Raises UserError if it is absent or damaged.
    """
    entry = load_arrays(path)
    data, labels = entry.get("data"), entry.get(labels_key)
    if (
        not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
        or data.ndim != 2
        or data.shape[1] != 3072
    ):
        raise UserError(f"{path} is damaged: 'data' is not an (N, 3072) array of bytes")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise UserError(f"{path} is damaged: {labels_key!r} is not a list of whole numbers")
    if len(labels) != len(data) or not labels:
        raise UserError(f"{path} is damaged: {len(data)} images and {len(labels)} labels")
    if min(labels) < 0 or max(labels) >= num_classes:
        raise UserError(f"{path} is damaged: a label lies outside 0..{num_classes - 1}")
    images = torch.from_numpy(np.require(data, requirements=("C", "W")))
    for part in images.split(1024):  # in place: twice the memory would take three times as long
        planes = part.view(-1, 3, 32 * 32)  # (n, C, HW): the red plane, then green, then blue
        part.view(-1, 32 * 32, 3).copy_(planes.transpose(1, 2).contiguous())  # (n, HW, C)
    return ImageSet(images.view(-1, 32, 32, 3), torch.tensor(labels, dtype=torch.int64))
