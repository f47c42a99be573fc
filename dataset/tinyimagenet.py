"""Tiny ImageNet: 100,000 + 10,000 images of 64x64 pixels in 200 classes of ImageNet.

Y. Le and X. Yang, "Tiny ImageNet Visual Recognition Challenge", course project, Stanford
University, 2015. The validation images serve as the test set; the test images have no public
labels.

Read from `<root>/tiny-imagenet-200/`, in one of three layouts:

    train/<wnid>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt      the public one
    train/<wnid>/*.JPEG, val/<wnid>/*.JPEG                                    many tutorials
    train/batch.npy, val/batch.npy                                              the original system

A `batch.npy` holds pairs (image (64, 64, 3) uint8, label); where both layouts are present it goes
first, since its labels say how its maker numbered the classes. In the public layout class k is the
k-th wnid in sorted order.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dataset.cache import CHUNK, SPLITS, Decoded, cached, decode_files, fingerprint
from dataset.download import fetch_archive, is_absent, located
from dataset.image_files import ImageFiles, class_folders, find_images, is_image
from dataset.registry import DataRequest, datasets
from dataset.restricted_pickle import load_object_array
from dataset.spec import Dataset, DatasetSpec
from helper.errors import UserError

FOLDER = "tiny-imagenet-200"
URL = "https://cs231n.stanford.edu/tiny-imagenet-200.zip"
SHA256 = "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"
ANNOTATIONS = "val_annotations.txt"
NEEDED = ("train", "val/images", f"val/{ANNOTATIONS}")
SPLIT_FOLDERS = ("train", "val")
IMG_SIZE, NUM_CLASSES = 64, 200


@datasets.register("tinyimagenet")
class TinyImageNet:
    @staticmethod
    def spec(request: DataRequest) -> DatasetSpec:
        return DatasetSpec(
            name="tinyimagenet",
            num_classes=NUM_CLASSES,
            img_size=IMG_SIZE,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            crop_padding=8,
            cutout_size=16,
            autoaugment_policy="imagenet",
            light_student_lr=0.01,
        )

    @staticmethod
    def load(request: DataRequest) -> Dataset:
        """Both splits, downloaded and decoded first where that has not been done.

        Raises UserError if a file is absent, damaged or out of place.
        """
        folder = located(request, FOLDER, SPLIT_FOLDERS)
        if is_absent(folder):
            fetch_archive(request, folder, url=URL, sha256=SHA256, needed=NEEDED, keep=is_wanted)
        batch_files = [folder / split / "batch.npy" for split in ("train", "val")]
        present = [path for path in batch_files if os.path.exists(path)]
        if len(present) == 2:
            mark = fingerprint(folder, map(str, batch_files))
            decode = {
                split: partial(read_batch_file, path) for split, path in zip(SPLITS, batch_files)
            }
        else:
            is_sorted = has_class_folders(folder / "val")
            if present and not is_sorted and not os.path.exists(folder / "val" / ANNOTATIONS):
                raise UserError(
                    f"{folder}/ holds {present[0].parent.name}/batch.npy alone: it takes train/ and"
                    " val/batch.npy"
                )
            class_names = class_folders(folder / "train", NUM_CLASSES)
            train = images_by_class(folder / "train", class_names)
            if is_sorted:
                test, annotations = images_by_class(folder / "val", class_names), []
            else:
                test = validation_images(folder / "val", class_names)
                annotations = [str(folder / "val" / ANNOTATIONS)]
            mark = fingerprint(folder, [*train.paths(), *test.paths(), *annotations])
            decode = {
                split: partial(
                    decode_files, files, IMG_SIZE, request.num_workers, f"decoding {split} images"
                )
                for split, files in (("train", train), ("test", test))
            }
        splits = cached(request, "tinyimagenet", folder, mark, decode)
        return Dataset(
            spec=TinyImageNet.spec(request),
            train=splits["train"].first(request.limit_train),
            test=splits["test"].first(request.limit_test),
        )


def is_wanted(name: str) -> bool:
    """All of the archive but its test images, which have no labels."""
    return not name.startswith("test/")


def has_class_folders(folder: Path) -> bool:
    """True if each class of the validation images has a folder, and images/ is gone."""
    with contextlib.suppress(OSError), os.scandir(folder / "images") as entries:
        if any(map(is_image, entries)):
            return False
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return any(re.fullmatch(r"n\d{8}", entry.name) and entry.is_dir() for entry in entries)
    return False


def images_by_class(folder: Path, class_names: list[str]) -> ImageFiles:
    """`folder/<wnid>/images/*` or `folder/<wnid>/*`.

    UserError if a class has no folder, or no image.
    """
    inner = "images" if os.path.isdir(folder / class_names[0] / "images") else ""
    return find_images(folder, class_names, inner=inner)


def validation_images(folder: Path, class_names: list[str]) -> ImageFiles:
    """The images in `val/images/` with their labels, in the order of `val/val_annotations.txt`.

    A line holds file name, wnid and four coordinates, separated by tabs.
    """
    annotations, class_of = folder / ANNOTATIONS, {name: k for k, name in enumerate(class_names)}
    try:
        lines = annotations.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        present = set(os.listdir(folder / "images"))
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from None
    names, labels = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, wnid = [*line.split("\t"), "", ""][:2]
        if wnid not in class_of:
            raise UserError(
                f"{annotations} line {number}: {wnid!r} is none of the {len(class_names)} classes"
                " in train/"
            )
        if name not in present:
            raise UserError(f"{annotations} line {number}: {folder}/images/{name} does not exist")
        names.append(os.fsencode(f"images/{name}"))
        labels.append(class_of[wnid])
    if not names:
        raise UserError(f"{annotations} is empty")
    return ImageFiles(folder, np.array(names), torch.tensor(labels, dtype=torch.int64))


def read_batch_file(path: Path) -> Decoded:
    """A `batch.npy`: (N, 2) objects, images (64, 64, 3) or grey (64, 64), uint8, and labels.

    It is read as a whole, and its memory is freed while its images are written to the cache. Raises
    UserError if it holds anything else.
    """
    pairs = load_object_array(path)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise UserError(
            f"{path} is damaged: its shape is {pairs.shape}, not (N, 2): pairs of image and label"
        )
    shapes = {(IMG_SIZE, IMG_SIZE), (IMG_SIZE, IMG_SIZE, 3)}
    for row, (image, label) in enumerate(pairs):
        if (
            not isinstance(image, np.ndarray)
            or image.dtype != np.uint8
            or image.shape not in shapes
        ):
            raise UserError(
                f"{path} is damaged: image {row} is not a ({IMG_SIZE}, {IMG_SIZE}, 3) array of"
                " bytes"
            )
        if not isinstance(label, (int, np.integer)) or not 0 <= label < NUM_CLASSES:
            raise UserError(
                f"{path} is damaged: label {row} is not a whole number in 0..{NUM_CLASSES - 1}"
            )
    labels = torch.tensor([int(label) for label in pairs[:, 1]], dtype=torch.int64)

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(pairs), CHUNK):
            chunk = pairs[start : start + CHUNK, 0]
            yield np.stack(
                [image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in chunk]
            )
            chunk[:] = None

    return Decoded(labels, chunks())
