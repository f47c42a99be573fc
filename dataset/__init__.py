"""Data sets: `datasets[name].load(request)` gives the images, `.spec(request)` the facts.

To add one: a file like cifar100.py, an import below, a test.
"""

from dataset import (  # noqa: F401  (to be registered, in the order of --list)
    cifar10,
    cifar100,
    imagenet,
    svhn,
    synthetic,
    tinyimagenet,
    folder,
)
from dataset.image_files import ImageFiles
from dataset.registry import DataRequest, datasets
from dataset.spec import Dataset, DatasetSpec, ImageSet

__all__ = ["DataRequest", "Dataset", "DatasetSpec", "ImageFiles", "ImageSet", "datasets"]
