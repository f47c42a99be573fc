"""Folders of images that are out of place: refused in one line that names what is wrong."""

import shutil
from pathlib import Path

import pytest
from fake_cifar import write_cifar
from fake_images import copy_with_links, replace, wnid, write_imagenet, write_tiny_imagenet
from refusals import TEACHER, check

pytestmark = pytest.mark.usefixtures("empty_folder", "no_network")


def write_damaged_folders(root):
    """tiny_<damage>/tiny-imagenet-200 and imagenet_<damage>/imagenet100, each wrong in one way."""
    write_tiny_imagenet(root / "tiny", per_class=1, val=3)
    write_imagenet(root / "imagenet", train=1)

    def copy(kind, damage):
        name = {"tiny": "tiny-imagenet-200", "imagenet": "imagenet100"}[kind]
        return copy_with_links(root / kind / name, root / f"{kind}_{damage}" / name)

    image = Path("train", wnid(9), "images", f"{wnid(9)}_0.JPEG")
    path = copy("tiny", "truncated") / image
    replace(path, path.read_bytes()[:500])
    replace(copy("tiny", "text") / image, b"<html>")
    (copy("tiny", "no_image") / image).unlink()
    (copy("tiny", "no_annotations") / "val" / "val_annotations.txt").unlink()
    (copy("tiny", "no_val_image") / "val" / "images" / "val_1.JPEG").unlink()
    (copy("tiny", "extra_class") / "train" / "n99999999").mkdir()
    replace(copy("tiny", "odd_annotations") / "val" / "val_annotations.txt", b"val_0.JPEG cat\n")
    shutil.rmtree(copy("tiny", "no_train") / "train")
    (copy("tiny", "batch") / "train" / "batch.npy").write_bytes(b"")
    (root / "tiny_batch" / "tiny-imagenet-200" / "val" / "batch.npy").write_bytes(b"")
    shutil.rmtree(copy("imagenet", "no_val") / "val")
    shutil.rmtree(copy("imagenet", "class_missing") / "train" / wnid(3))
    folder = copy("imagenet", "flat_val") / "val"
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"")


@pytest.fixture(scope="module")
def image_folders(tmp_path_factory):
    """Apart from `material`, which is looked through for each test: thousands of files."""
    root = tmp_path_factory.mktemp("image_folders")
    write_damaged_folders(root)
    (root / "file").write_text("")
    write_cifar(root / "cifar")
    return root


FOLDER_ROWS = [
    ("tiny_truncated", "tinyimagenet", f"{wnid(9)}_0.JPEG is damaged or no image"),
    ("tiny_text", "tinyimagenet", f"{wnid(9)}_0.JPEG is damaged or no image"),
    ("tiny_no_image", "tinyimagenet", f"{wnid(9)}/images/ holds no image"),
    ("tiny_no_annotations", "tinyimagenet", "val_annotations.txt: No such file"),
    (
        "tiny_no_val_image",
        "tinyimagenet",
        "val_annotations.txt line 2",
        "val_1.JPEG does not exist",
    ),
    ("tiny_extra_class", "tinyimagenet", "train/ holds 201 class folders, not 200"),
    ("tiny_odd_annotations", "tinyimagenet", "line 1: '' is none of the 200 classes in train/"),
    ("tiny_no_train", "tinyimagenet", "train/: No such file"),
    ("tiny_batch", "tinyimagenet", "train/batch.npy is damaged"),
    ("cifar", "tinyimagenet", "could not download", "tiny-imagenet-200/ holds train, val/images"),
    ("cifar", "svhn", "could not download", "svhn/ holds train_32x32.mat, test_32x32.mat"),
    ("cifar", "cifar10", "could not download", "cifar-10-batches-py/ holds data_batch_1"),
    (
        "cifar",
        "imagenet",
        "imagenet/ is absent: it should hold train/ and val/",
        "1000 classes",
        "--data_root",
    ),
    ("imagenet_no_val", "imagenet100", "val/: No such file"),
    ("imagenet_class_missing", "imagenet100", "train/ holds 99 class folders, not 100"),
    ("imagenet_flat_val", "imagenet100", "val/ holds 0 class folders, not 100"),
]


@pytest.mark.parametrize("row", FOLDER_ROWS, ids=lambda row: f"{row[1]} {row[0]}")
def test_damaged_folders_are_refused(row, image_folders, capsys):
    root, dataset, *fragments = row
    line = f"--data_root {{m}}/{root} --dataset {dataset}"
    check(TEACHER, line, fragments, image_folders, capsys, watched=image_folders / root)


def test_a_cache_that_cannot_be_written(image_folders, capsys):
    line = "--cache_dir {m}/file --dataset tinyimagenet --data_root {m}/tiny"
    told = ("--cache_dir", "{m}/file")
    check(TEACHER, line, told, image_folders, capsys, watched=image_folders / "tiny")
