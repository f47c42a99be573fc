"""Tiny ImageNet in both of its layouts, and its cache of decoded images."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from places import ROOT
from fake_images import copy_with_links, picture, replace, wnid, write_tiny_imagenet
from PIL import Image

from dataset import DataRequest, cache, datasets
from helper.errors import UserError

REAL = os.environ.get("DATA_AUG_KD_TINYIMAGENET")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_tiny_imagenet(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(tmp_path, original):
    """A copy to change."""
    (tmp_path / "data").mkdir()
    return copy_with_links(original, tmp_path / "data" / "tiny-imagenet-200")


def load(folder, **changes):
    return datasets["tinyimagenet"].load(DataRequest(root=folder.parent, **changes))


def caches(folder):
    return sorted(path.name for path in (folder.parent / "cache").iterdir() if path.is_dir())


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


def as_batch_npy(folder, labels=int, pixels=lambda image: image):
    """The original system's layout beside the public one, with other labels, so that it shows which
    was read."""
    for split, count in (("train", 6), ("val", 4)):
        pairs = np.empty((count, 2), dtype=object)
        for row in range(count):
            pairs[row, 0] = pixels(np.full((64, 64, 3), 10 * row, dtype=np.uint8))
            pairs[row, 1] = labels(199 - row)
        np.save(folder / split / "batch.npy", pairs, allow_pickle=True)


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


class Calls:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


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
    pairs[2, 1] = Calls(canary)
    np.save(path, pairs, allow_pickle=True)
    with pytest.raises(UserError, match=r"asks for .*open"):
        load(folder)
    assert not canary.exists()
    np.load(path, allow_pickle=True)
    assert canary.exists()  # the file is live


# --- What is out of place -------------------------------------------------------------------------


def annotations(folder, change):
    path = folder / "val" / "val_annotations.txt"
    replace(path, change(path.read_text()).encode())


def image(folder, label=5, number=1):
    return folder / "train" / wnid(label) / "images" / f"{wnid(label)}_{number}.JPEG"


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
        lambda f: replace(image(f), image(f).read_bytes()[:300]),
        rf"{wnid(5)}_1.JPEG is damaged or no image",
    ),
    "empty image": (lambda f: replace(image(f), b""), rf"{wnid(5)}_1.JPEG is damaged or no image"),
    "text for an image": (
        lambda f: replace(image(f), b"<html>"),
        rf"{wnid(5)}_1.JPEG is damaged or no image",
    ),
    "wrong size": (
        lambda f: replace(image(f), picture(0, (64, 48))),
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
        lambda f: replace(image(f), sixteen_bits()),
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


# --- The cache ------------------------------------------------------------------------------------


def forbid_decoding(monkeypatch):
    def decode(*_, **__):
        raise AssertionError("decoded again")

    monkeypatch.setattr(cache, "open_rgb", decode)


def test_a_second_run_decodes_nothing(folder, monkeypatch):
    first = load(folder)
    forbid_decoding(monkeypatch)
    second = load(folder)
    for split in ("train", "test"):
        assert torch.equal(getattr(first, split).images, getattr(second, split).images)
        assert torch.equal(getattr(first, split).labels, getattr(second, split).labels)


def test_images_are_mapped_and_the_file_cannot_be_changed_through_them(folder):
    data = load(folder)
    (name,) = caches(folder)
    assert f"{name}/train_images.npy" in Path("/proc/self/maps").read_text()
    before = data.train.images.clone()
    data.train.images.zero_()
    assert torch.equal(load(folder).train.images, before)


CHANGES = {
    "an image's content": lambda f: replace(image(f), picture(99)),
    "an image's content, same size and place": lambda f: os.utime(image(f), (1, 1)),
    "a new image": lambda f: (image(f).with_name("new.JPEG")).write_bytes(picture(98)),
    "one image fewer": lambda f: image(f).unlink(),
    "a new name": lambda f: image(f).rename(image(f).with_name("other.JPEG")),
    "a class changed in the annotations": lambda f: annotations(
        f, lambda t: t.replace(wnid(14), wnid(15))
    ),
    "a batch.npy": as_batch_npy,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_source_is_decoded_anew_and_the_old_cache_goes(folder, change):
    load(folder)
    (old,) = caches(folder)
    CHANGES[change](folder)
    load(folder)
    (new,) = caches(folder)
    assert new != old


def test_a_moved_folder_keeps_its_cache(folder, monkeypatch):
    load(folder)
    moved = folder.parent.rename(folder.parent.with_name("elsewhere")) / folder.name
    forbid_decoding(monkeypatch)
    assert len(load(moved).train) == 400


def test_two_sources_share_a_cache_folder(folder, original, tmp_path):
    other = copy_with_links(original, tmp_path / "other" / "tiny-imagenet-200")
    replace(image(other), picture(99))
    shared = tmp_path / "shared"
    first, second = (load(source, cache_dir=shared) for source in (folder, other))
    assert not torch.equal(first.train.images, second.train.images)
    assert len([path for path in shared.iterdir() if path.is_dir()]) == 2
    assert not (folder.parent / "cache").exists()


@pytest.mark.parametrize(
    "name", ["train_images.npy", "test_images.npy", "train_labels.npy", "test_labels.npy"]
)
@pytest.mark.parametrize("damage", ["gone", "cut off", "empty"])
def test_a_damaged_cache_is_built_anew(folder, name, damage):
    whole = load(folder).train.images.clone()
    path = folder.parent / "cache" / caches(folder)[0] / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: -10 if damage == "cut off" else 0])
    assert torch.equal(load(folder).train.images, whole)
    assert len(caches(folder)) == 1 and len(load(folder).test) == 30


def test_a_full_disk_is_one_line_and_leaves_nothing(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        UserError, match=r"cannot write decoded images to .*cache/: No space.*--cache_dir"
    ):
        load(folder)
    assert caches(folder) == []


def test_a_folder_that_cannot_be_written(folder):
    (folder.parent / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write decoded images to .*--cache_dir"):
        load(folder)


def test_a_dry_run_writes_nothing(folder, monkeypatch):
    data = load(folder, may_write=False)
    assert data.train.images.shape == (400, 64, 64, 3) and data.train.labels.tolist()[:200] == [
        *range(200)
    ]
    assert not (folder.parent / "cache").exists()
    load(folder)
    forbid_decoding(monkeypatch)
    assert len(load(folder, may_write=False).train) == 400


def run_load(folder, *, before="", check=True):
    """In another process; `before` is run first there."""
    code = (
        "import sys, time; from pathlib import Path; from dataset import DataRequest, "
        "datasets, cache\n"
        f"{before}\n"
        f"data = datasets['tinyimagenet'].load(DataRequest(root=Path({str(folder.parent)!r})))\n"
        "print('sum', int(data.train.images.sum()))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


SLOW = """
real = cache.open_rgb
def slow(path):
    time.sleep(0.05)
    return real(path)
cache.open_rgb = slow
"""


def test_a_killed_build_leaves_nothing_that_is_taken_for_whole(folder, monkeypatch):
    builder = run_load(folder, before=SLOW)
    scratch = folder.parent / "cache"
    deadline = time.monotonic() + 120
    while not (scratch.exists() and caches(folder)):
        assert builder.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    assert caches(folder)[0].startswith(".building-")
    builder.send_signal(signal.SIGKILL)
    builder.communicate()
    assert len(load(folder).train) == 400
    (name,) = caches(folder)
    assert not name.startswith(".")


def test_of_several_processes_one_builds_and_the_others_wait(folder):
    slow = SLOW.replace("0.05", "0.005")
    processes = [run_load(folder, before=slow) for _ in range(3)]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    out = [out for out, _ in outputs]
    assert len({text.splitlines()[-1] for text in out}) == 1
    assert sum("decoding " in text for text in out) == 1
    assert len(caches(folder)) == 1


# --- The real one ---------------------------------------------------------------------------------


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
