"""The files in the folder of `--dataset folder`: images and their classes.

A split, `train` or one of TEST_NAMES, is the first of these that is there:

    <split>.csv                      lines `path,label`, paths relative to the root or <split>/
    <split>/labels.csv               the same, paths relative to <split>/
    <split>/<class>/**/<image>       a folder for each class, images at any depth
    [data/]<split>*.parquet          shards of the Hub: columns of image bytes and labels

`classes.txt`, a name a line, says the order of the classes. Without it class k is the k-th class
folder in sorted order, as in torchvision's ImageFolder, and the k-th label in sorted order: by
value where all are whole numbers.
"""

import csv
import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dataset.image_files import ImageFiles
from helper.errors import UserError

TEST_NAMES = ("val", "valid", "validation", "test")
"""Possible names of the test set. The first that is there is read, as `val` of ImageNet is."""
PATH_COLUMNS = ("path", "file_name", "filename", "file", "image", "image_path")
LABEL_COLUMNS = ("label", "class", "class_name", "target", "fine_label", "labels")
NEVER_OPENED = ("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "FITS")
"""Formats that Pillow hands to other programs, or cannot decode."""


@dataclass(frozen=True)
class Named:
    """One split as found. paths: relative to the root. classes: each image's class, by name."""

    paths: Sequence[str]
    classes: Sequence[str]
    where: str
    """The file or folder that names the classes, for error messages."""


@dataclass(frozen=True)
class Listing:
    """The image files of a folder. `test` None: it has no test set."""

    root: Path
    class_names: tuple[str, ...]
    train: ImageFiles
    test: ImageFiles | None
    notes: tuple[str, ...] = ()
    """Lines for log.txt."""


@functools.cache
def suffixes() -> tuple[str, ...]:
    """The endings of all image formats that Pillow reads, in lower case."""
    known = Image.registered_extensions()
    return tuple(
        sorted(s for s, name in known.items() if name in Image.OPEN and name not in NEVER_OPENED)
    )


def read_layout(root: Path) -> Listing:
    """The files in `root`.

    Raises UserError where it has no training images, or says something contradictory.
    """
    if not root.is_dir():
        raise UserError(
            f"--data_root {root} is no folder: --dataset folder reads train/ and val/ in it"
        )
    train = find_split(root, "train")
    if train is None:
        raise UserError(
            f"--data_root {root} holds no training images: it takes train/ with a folder for each"
            f" class, train.csv (path,label), or train*.parquet; {what_is_there(root)}"
        )
    found = {name: split for name in TEST_NAMES if (split := find_split(root, name)) is not None}
    class_names = order_of_classes(root, train)
    notes = [
        f"{root}/{name} is not read: {next(iter(found))} is the test set"
        for name in list(found)[1:]
    ]
    test = next(iter(found.values()), None)
    return Listing(
        root,
        class_names,
        with_labels(root, train, class_names),
        None if test is None else with_labels(root, test, class_names),
        tuple(notes),
    )


def what_is_there(root: Path) -> str:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
    return (
        f"there is {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        if names
        else "it is empty"
    )


def find_split(root: Path, split: str) -> Named | None:
    """The split's images, None if there is nothing of that name."""
    for table, base in ((root / f"{split}.csv", ""), (root / split / "labels.csv", split)):
        if table.is_file():
            return read_table(root, table, (base,) if base else ("", split))
    return read_class_folders(root, split) if (root / split).is_dir() else None


def read_class_folders(root: Path, split: str) -> Named | None:
    """Images in `root/<split>/<class>/`, at any depth.

    The first image of every class comes first, then the second of every class, and so on: the first
    N are balanced. None for a test folder without class folders, as the test images of ImageNet
    are. Raises UserError for a class without an image.
    """
    folder = root / split
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    if not names and split == "test":
        return None
    if not names:
        raise UserError(
            f"{folder}/ holds no class folders, and neither {folder}.csv nor {folder}/labels.csv"
            " (path,label) is there"
        )
    found = []  # (rank in its class, class's place, path, class)
    for place, name in enumerate(names):
        images = sorted(images_below(folder / name))
        if not images:
            raise UserError(f"{folder / name}/ holds no image (by its ending: .jpg, .png, ...)")
        relative = (os.path.relpath(path, root) for path in images)
        found += [(rank, place, path, name) for rank, path in enumerate(relative)]
    found.sort()
    return Named([path for *_, path, _ in found], [name for *_, name in found], f"{folder}/")


def images_below(folder: Path) -> Iterable[str]:
    """By their endings; hidden files, such as the ._x.jpg that a Mac leaves, are none."""
    for where, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(suffixes()) and not name.startswith("."):
                yield os.path.join(where, name)


def read_table(root: Path, table: Path, bases: Sequence[str]) -> Named:
    """The images that a CSV file lists, in its order.

    Its first line names the columns, which commas, semicolons or tabs separate. A path is relative
    to the first of `bases` that has it. UserError names the line that is wrong.
    """
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, delimiter=max(",;\t", key=header.count))
            path_column, label_column = (
                column_of(table, rows.fieldnames or (), wanted)
                for wanted in (PATH_COLUMNS, LABEL_COLUMNS)
            )
            pairs = [
                (rows.line_num, (row[path_column] or "").strip(), (row[label_column] or "").strip())
                for row in rows
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"cannot read {table}: {getattr(error, 'strerror', None) or error}"
        ) from None
    if not pairs:
        raise UserError(f"{table} lists no image")
    paths = []
    for number, path, label in pairs:
        if not path or not label:
            raise UserError(f"{table} line {number} has no {'label' if path else 'path'}")
        present = (p for base in bases if (root / (p := os.path.join(base, path))).is_file())
        if (here := next(present, None)) is None:
            raise UserError(f"{table} line {number}: {path} does not exist")
        paths.append(here)
    return Named(paths, [label for *_, label in pairs], str(table))


def column_of(table: Path, columns: Sequence[str], wanted: Sequence[str]) -> str:
    """The first of `columns` that is one of `wanted`, whatever its case."""
    for column in columns:
        if (column or "").strip().lower() in wanted:
            return column
    if not any(columns):
        raise UserError(f"{table} is empty: its first line names the columns, path,label")
    raise UserError(
        f"{table}: its first line must name the columns, path,label; none of"
        f" {', '.join(map(str, columns))} is one of {', '.join(wanted)}"
    )


def order_of_classes(root: Path, train: Named) -> tuple[str, ...]:
    """The class names, class 0 first.

    UserError for fewer than two, or a `classes.txt` that does not fit.
    """
    present = set(train.classes)
    listed = root / "classes.txt"
    if listed.is_file():
        lines = listed.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        if len(set(names)) < len(names):
            raise UserError(f"{listed} names a class twice")
        if missing := present - set(names):
            raise UserError(
                f"{train.where} has the class {min(missing)!r}, which {listed} does not name"
            )
    else:
        by_value = train.where.endswith(".csv") and all(name.isdecimal() for name in present)
        names = sorted(present, key=int if by_value else None)
    if len(names) < 2:
        raise UserError(f"{train.where} has one class alone, {names[0]!r}: at least two are needed")
    return tuple(names)


def with_labels(root: Path, split: Named, class_names: Sequence[str]) -> ImageFiles:
    """The split with numbers for classes.

    UserError for a class that the training images do not have.
    """
    number = {name: k for k, name in enumerate(class_names)}
    if unknown := set(split.classes) - number.keys():
        raise UserError(
            f"{split.where} has the class {min(unknown)!r}, which is none of the {len(number)}"
            " training classes"
        )
    names = np.array([os.fsencode(path) for path in split.paths])
    labels = torch.tensor([number[name] for name in split.classes], dtype=torch.int64)
    return ImageFiles(root, names, labels)
