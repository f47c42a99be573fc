"""Data sets: `datasets[name].load(request)` gives the images, `.spec(request)` the facts about them.

To add one: a file like cifar100.py, an import below, a test.
"""

from dataset import cifar100, synthetic  # noqa: F401  (imported to be registered)
from dataset.registry import DataRequest, datasets
from dataset.spec import Dataset, DatasetSpec, ImageSet

__all__ = ["DataRequest", "Dataset", "DatasetSpec", "ImageSet", "datasets"]
