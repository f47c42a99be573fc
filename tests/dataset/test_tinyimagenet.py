"""Tiny ImageNet in both of its layouts, and its cache of decoded images."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_images import picture, replace, wnid
from PIL import Image
from tiny_imagenet import annotations, as_batch_npy, caches, image_path, load
from hostile import Calls

from dataset import DataRequest, datasets
from helper.errors import UserError

REAL = os.environ.get("DATA_AUG_KD_TINYIMAGENET")


def decoded(path):
    return np.array(Image.open(path).convert("RGB"))


# --- What is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 2])
def test_public_layout(folder, num_workers):
    data = load(folder, num_workers=num_workers)
    assert data.train.images.shape == (400, 64, 64, 3) and data.train.images.dtype == torch.uint8
    assert data.train.labels.tolist() == [
        *range(200),
        *range(200),
    ]  # the first of each class, then the second
    for row in (0, 3, 5, 203, 399):
        label, number = row % 200, row // 200
        path = folder / "train" / wnid(label) / "images" / f"{wnid(label)}_{number}.JPEG"
        assert np.array_equal(data.train.images[row].numpy(), decoded(path)), row
    assert data.test.labels.tolist() == [7 * number % 200 for number in range(30)]
    for number in range(30):
        path = folder / "val" / "images" / f"val_{number}.JPEG"
        assert np.array_equal(data.test.images[number].numpy(), decoded(path)), number


def test_grey_images_have_three_equal_channels(folder):
    grey = folder / "train" / wnid(3) / "images" / f"{wnid(3)}_0.JPEG"
    assert Image.open(grey).mode == "L"
    data = load(folder)
    for image in (data.train.images[3], data.test.images[1]):
        assert torch.equal(image[..., 0], image[..., 1]) and torch.equal(
            image[..., 0], image[..., 2]
        )


def test_what_other_programs_leave_behind_is_passed_over(folder):
    clean = load(folder)
    images = folder / "train" / wnid(9) / "images"
    (images / f"._{wnid(9)}_0.JPEG").write_bytes(b"Mac")
    (images / "Thumbs.db").write_bytes(b"Windows")
    (images / "folder.JPEG").mkdir()
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    (folder / "train" / ".DS_Store").write_bytes(b"")
    annotations(folder, lambda text: "\ufeff" + text.replace("\n", "\r\n") + "\r\n")
    again = load(folder)
    assert torch.equal(again.train.images, clean.train.images)
    assert again.test.labels.tolist() == clean.test.labels.tolist()


def test_limits_are_balanced_and_copy_nothing(folder):
    data = load(folder, limit_train=250, limit_test=4)
    counts = data.train.labels.bincount(minlength=200)
    assert (counts[:50] == 2).all() and (counts[50:] == 1).all()
    assert len(data.test) == 4
    whole = load(folder)
    assert (
        data.train.images.untyped_storage().nbytes()
        == whole.train.images.untyped_storage().nbytes()
    )


@pytest.mark.parametrize("labels", [int, np.int64, np.int32])
def test_batch_npy_goes_first(folder, labels):
    as_batch_npy(folder, labels)
    data = load(folder)
    assert data.train.labels.tolist() == [199, 198, 197, 196, 195, 194]
    assert data.test.labels.tolist() == [199, 198, 197, 196]
    assert data.train.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    assert data.train.images.shape == (6, 64, 64, 3)


def test_grey_images_in_batch_npy(folder):
    as_batch_npy(folder, pixels=lambda image: image[..., 0])
    assert (load(folder).train.images[2] == 20).all()


def test_one_batch_npy_alone_is_not_read(folder):
    as_batch_npy(folder)
    (folder / "val" / "batch.npy").unlink()
    assert len(load(folder).train) == 400


DAMAGED_NPY = {
    "an image is too small": (
        lambda pairs: pairs.__setitem__((1, 0), np.zeros((32, 32, 3), np.uint8)),
        "image 1 is",
    ),
    "an image of floats": (
        lambda pairs: pairs.__setitem__((2, 0), np.zeros((64, 64, 3))),
        "image 2 is",
    ),
    "a label out of range": (lambda pairs: pairs.__setitem__((1, 1), 200), "label 1 is"),
    "a label that is none": (lambda pairs: pairs.__setitem__((3, 1), "dog"), "label 3 is"),
}


@pytest.mark.parametrize("damage", DAMAGED_NPY)
def test_damaged_batch_npy(folder, damage):
    as_batch_npy(folder)
    path = folder / "train" / "batch.npy"
    pairs = np.load(path, allow_pickle=True)
    change, fragment = DAMAGED_NPY[damage]
    change(pairs)
    np.save(path, pairs, allow_pickle=True)
    with pytest.raises(UserError, match=rf"train/batch.npy is damaged: {fragment}"):
        load(folder)


@pytest.mark.parametrize(
    "content, fragment",
    [
        (lambda old: old[:500], "is damaged"),
        (lambda old: b"", "is damaged"),
        (lambda old: b"<html>", "is damaged"),
    ],
)
def test_truncated_batch_npy(folder, content, fragment):
    as_batch_npy(folder)
    path = folder / "train" / "batch.npy"
    replace(path, content(path.read_bytes()))
    with pytest.raises(UserError, match=rf"train/batch.npy {fragment}"):
        load(folder)


def test_plain_and_misshapen_arrays_are_no_batch_npy(folder):
    as_batch_npy(folder)
    for array in (np.zeros((3, 2)), np.empty((4,), dtype=object), np.empty((0, 2), dtype=object)):
        np.save(folder / "train" / "batch.npy", array, allow_pickle=True)
        with pytest.raises(UserError, match=r"train/batch.npy is damaged"):
            load(folder)


def test_a_hostile_batch_npy_is_refused_before_it_acts(folder, tmp_path):
    as_batch_npy(folder)
    path, canary = folder / "train" / "batch.npy", tmp_path / "canary"
    pairs = np.load(path, allow_pickle=True)
    pairs[2, 1] = Calls(open, str(canary), "w")
    np.save(path, pairs, allow_pickle=True)
    with pytest.raises(UserError, match=r"asks for .*open"):
        load(folder)
    assert not canary.exists()
    np.load(path, allow_pickle=True)
    assert canary.exists()  # the file is live


# --- What is out of place -------------------------------------------------------------------------


def annotations_gone(folder):
    (folder / "val" / "val_annotations.txt").unlink()


def sixteen_bits():
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64), 30000, dtype=np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def remove(path):
    for inner in path.iterdir():
        remove(inner) if inner.is_dir() else inner.unlink()
    path.rmdir()


DAMAGE = {
    "truncated image": (
        lambda f: replace(image_path(f), image_path(f).read_bytes()[:300]),
        rf"{wnid(5)}_1.JPEG is damaged or no image",
    ),
    "empty image": (
        lambda f: replace(image_path(f), b""),
        rf"{wnid(5)}_1.JPEG is damaged or no image",
    ),
    "text for an image": (
        lambda f: replace(image_path(f), b"<html>"),
        rf"{wnid(5)}_1.JPEG is damaged or no image",
    ),
    "wrong size": (
        lambda f: replace(image_path(f), picture(0, (64, 48))),
        rf"{wnid(5)}_1.JPEG is 64x48 pixels, not 64x64",
    ),
    "class folder missing": (
        lambda f: remove(f / "train" / wnid(9)),
        r"train/ holds 199 class folders, not 200",
    ),
    "class folder too many": (
        lambda f: (f / "train" / "x").mkdir(),
        r"train/ holds 201 class folders, not 200",
    ),
    "no images folder": (
        lambda f: remove(f / "train" / wnid(9) / "images"),
        rf"cannot read .*{wnid(9)}/images/: No such file",
    ),
    "class without images": (
        lambda f: [p.unlink() for p in (f / "train" / wnid(9) / "images").iterdir()],
        rf"{wnid(9)}/images/ holds no image",
    ),
    "no train": (lambda f: remove(f / "train"), r"cannot read .*train/: No such file"),
    "no val": (lambda f: remove(f / "val"), r"cannot read .*val_annotations.txt: No such file"),
    "no annotations": (
        lambda f: (f / "val" / "val_annotations.txt").unlink(),
        r"cannot read .*val_annotations.txt: No such file",
    ),
    "validation image missing": (
        lambda f: (f / "val" / "images" / "val_4.JPEG").unlink(),
        r"val_annotations.txt line 5: .*val/images/val_4.JPEG does not exist",
    ),
    "unknown class": (
        lambda f: annotations(f, lambda t: t.replace(wnid(14), "n1")),
        r"val_annotations.txt line 3: 'n1' is none of the 200 classes",
    ),
    "no tabs": (
        lambda f: annotations(f, lambda t: t.replace("\t", " ")),
        r"val_annotations.txt line 1: '' is none of the 200 classes",
    ),
    "a file for a class folder": (
        lambda f: (remove(f / "train" / wnid(9)), (f / "train" / wnid(9)).write_text("")),
        r"train/ holds 199 class folders, not 200",
    ),
    "16 bits a channel": (
        lambda f: replace(image_path(f), sixteen_bits()),
        rf"{wnid(5)}_1.JPEG is damaged or no image: it has 16",
    ),
    "one batch.npy and no annotations": (
        lambda f: (as_batch_npy(f), (f / "val" / "batch.npy").unlink(), annotations_gone(f)),
        r"tiny-imagenet-200/ holds train/batch.npy alone: it takes train/ and val/batch.npy",
    ),
    "empty annotations": (lambda f: annotations(f, lambda t: ""), r"val_annotations.txt is empty"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_is_wrong_is_named_and_nothing_is_left(folder, damage, num_workers):
    change, fragment = DAMAGE[damage]
    change(folder)
    with pytest.raises(UserError, match=fragment) as error:
        load(folder, num_workers=num_workers)
    assert "\n" not in str(error.value)
    assert not (folder.parent / "cache").exists() or caches(folder) == []


def test_absent_and_offline(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    wanted = (
        r"could not download https://cs231n.stanford.edu/.*tiny-imagenet-200/ holds train, "
        r"val/images"
    )
    with pytest.raises(UserError, match=wanted):
        load(tmp_path / "data" / "tiny-imagenet-200")
    assert not list(tmp_path.iterdir())


# --- The real one ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(
    not REAL, reason="DATA_AUG_KD_TINYIMAGENET names no folder with tiny-imagenet-200/"
)
def test_a_part_of_the_real_tiny_imagenet(tmp_path):
    request = DataRequest(root=Path(REAL), cache_dir=tmp_path, num_workers=2)
    data = datasets["tinyimagenet"].load(request)
    for split in (data.train, data.test):
        counts = split.labels.bincount()
        assert len(counts) == 200 and (counts == counts[0]).all()
        pixels = split.images.float() / 255
        mean, std = pixels.mean(dim=(0, 1, 2)), pixels.std(dim=(0, 1, 2))
        # The published constants are those of ImageNet, at another resolution.
        assert (mean - torch.tensor(data.spec.mean)).abs().max() < 0.05
        assert (std - torch.tensor(data.spec.std)).abs().max() < 0.06
        assert (pixels[:, 1:] - pixels[:, :-1]).abs().mean() < 0.1
    grey = (data.test.images[..., 0] == data.test.images[..., 2]).all(dim=2).all(dim=1)
    assert 0 < grey.sum() < len(data.test) // 20
