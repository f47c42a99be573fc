"""ImageNet and ImageNet-100 (any 100 classes), streamed from files at 224x224 pixels.

O. Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015, arXiv
1409.0575; Y. Tian, D. Krishnan, P. Isola, "Contrastive Multiview Coding", ECCV 2020, arXiv
1906.05849 (100 classes).

Read from `<root>/<name>/{train,val}/<wnid>/*.JPEG`; class k is the k-th wnid in sorted order, as in
the public checkpoints. The validation images serve as the test set.
"""

import contextlib
import os

from dataset.download import located
from dataset.image_files import class_folders, find_images
from dataset.registry import DataRequest, datasets
from dataset.spec import Dataset, DatasetSpec
from helper.errors import UserError


class ImageNet:
    """A source for one of the two, by name."""

    def __init__(self, name: str, num_classes: int) -> None:
        self.name, self.num_classes = name, num_classes

    def spec(self, request: DataRequest) -> DatasetSpec:
        return DatasetSpec(
            name=self.name,
            num_classes=self.num_classes,
            img_size=224,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            crop_padding=28,
            cutout_size=56,
            autoaugment_policy="imagenet",
            class_ids=self.wnids(request),
        )

    def wnids(self, request: DataRequest) -> tuple[str, ...]:
        """The class folders; none where they are absent or too few, which `load` tells."""
        with contextlib.suppress(UserError):
            return tuple(
                class_folders(
                    located(request, self.name, ("train", "val")) / "train", self.num_classes
                )
            )
        return ()

    def load(self, request: DataRequest) -> Dataset:
        """Both splits, as files. Raises UserError if a folder is absent or out of place."""
        folder = located(request, self.name, ("train", "val"))
        if not os.path.isdir(folder):
            raise UserError(
                f"{folder}/ is absent: it should hold train/ and val/, with a folder of images for"
                f" each of the {self.num_classes} classes (--data_root names the folder above; it"
                " cannot be downloaded)"
            )
        class_names = class_folders(folder / "train", self.num_classes)
        if class_folders(folder / "val", self.num_classes) != class_names:
            raise UserError(f"{folder}/val/ and {folder}/train/ do not hold the same class folders")
        return Dataset(
            spec=self.spec(request),
            train=find_images(folder / "train", class_names).first(request.limit_train),
            test=find_images(folder / "val", class_names).first(request.limit_test),
        )


datasets.register("imagenet", ImageNet("imagenet", 1000))
datasets.register("imagenet100", ImageNet("imagenet100", 100))
