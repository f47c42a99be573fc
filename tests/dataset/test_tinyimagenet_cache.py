"""The cache of decoded images of Tiny ImageNet."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from fake_images import copy_with_links, picture, replace, wnid
from forked import start
from places import ROOT
from tiny_imagenet import annotations, as_batch_npy, caches, image_path, load

from dataset import cache
from helper.errors import UserError

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
    "an image's content": lambda f: replace(image_path(f), picture(99)),
    "an image's content, same size and place": lambda f: os.utime(image_path(f), (1, 1)),
    "a new image": lambda f: (image_path(f).with_name("new.JPEG")).write_bytes(picture(98)),
    "one image fewer": lambda f: image_path(f).unlink(),
    "a new name": lambda f: image_path(f).rename(image_path(f).with_name("other.JPEG")),
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


def test_two_sources_share_a_cache_folder(folder, tiny_imagenet, tmp_path):
    other = copy_with_links(tiny_imagenet, tmp_path / "other" / "tiny-imagenet-200")
    replace(image_path(other), picture(99))
    shared = tmp_path / "shared"
    first, second = (load(source, cache_dir=shared) for source in (folder, other))
    assert not torch.equal(first.train.images, second.train.images)
    assert len([path for path in shared.iterdir() if path.is_dir()]) == 2
    assert not (folder.parent / "cache").exists()


@pytest.mark.slow
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


def test_a_killed_build_leaves_nothing_that_is_taken_for_whole(folder, tmp_path):
    """test_cache.py tests several processes at once."""

    def slowly(_):
        real = cache.open_rgb
        cache.open_rgb = lambda path: (time.sleep(0.05), real(path))[1]
        load(folder)

    builder = start(slowly, "", ROOT, output=tmp_path / "builder")
    while not ((folder.parent / "cache").exists() and caches(folder)):
        time.sleep(0.02)
    assert caches(folder)[0].startswith(".building-")
    builder.kill(signal.SIGKILL)
    assert builder.wait() == -signal.SIGKILL
    assert len(load(folder).train) == 400
    (name,) = caches(folder)
    assert not name.startswith(".")
