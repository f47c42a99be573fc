"""ImageNet's folders, and batches that are streamed from image files."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_images import copy_with_links, replace, wnid, write_imagenet
from PIL import Image
from torchvision import transforms

from dataset import DataRequest, datasets
from dataset.batches import DefaultDA, Normalize
from dataset.streamed import StreamedBatches, random_part
from helper.errors import UserError

SPEC = datasets["imagenet100"].spec(DataRequest())


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_imagenet(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(tmp_path, original):
    """A copy to change."""
    return copy_with_links(original, tmp_path / "imagenet100")


@pytest.fixture(scope="module")
def data(original):
    return datasets["imagenet100"].load(DataRequest(root=original.parent))


def load(folder, **changes):
    return datasets["imagenet100"].load(DataRequest(root=folder.parent, **changes))


def training_batches(data, seed=0, batch_size=60, num_workers=0, rows=None, **default_da):
    return StreamedBatches(
        data.train,
        SPEC,
        batch_size,
        generator=torch.Generator().manual_seed(seed),
        default_da=DefaultDA(**default_da),
        rows=rows,
        num_workers=num_workers,
    )


def one_epoch(batches):
    """(images (N, 3, H, W) uint8, labels (N,)) of a pass."""
    images, labels, _ = zip(*batches)
    return Normalize(SPEC).undo(torch.cat(images)), torch.cat(labels)


# --- The folders ----------------------------------------------------------------------------------


def test_classes_are_the_folders_in_sorted_order(data):
    assert (len(data.train), len(data.test)) == (200, 100)
    assert data.train.labels.tolist() == [
        *range(100),
        *range(100),
    ]  # the first of each class, then the second
    assert data.train.path(105) == str(data.train.folder / wnid(5) / "image_1.JPEG")
    assert data.test.labels.tolist() == [*range(100)]


def test_limits(original):
    data = load(original, limit_train=7, limit_test=3)
    assert data.train.labels.tolist() == [*range(7)] and len(data.test) == 3


def test_imagenet_has_1000_classes(tmp_path):
    write_imagenet(tmp_path, "imagenet", train=1)
    data = datasets["imagenet"].load(DataRequest(root=tmp_path))
    assert data.spec.num_classes == 1000 and data.train.labels.tolist() == [*range(1000)]


def test_imagenet100_is_not_imagenet(folder):
    folder.rename(folder.with_name("imagenet"))
    with pytest.raises(UserError, match=r"imagenet/train/ holds 100 class folders, not 1000"):
        datasets["imagenet"].load(DataRequest(root=folder.parent))


def test_what_is_out_of_place_is_named(folder, tmp_path):
    with pytest.raises(
        UserError, match=r"nowhere/imagenet100/ is absent: it should hold train/ and val/"
    ):
        datasets["imagenet100"].load(DataRequest(root=tmp_path / "nowhere"))
    (folder / "val" / wnid(7)).rename(folder / "val" / "n7")
    with pytest.raises(UserError, match=r"do not hold the same class folders"):
        load(folder)
    (folder / "val" / "n7").rename(
        folder / "val" / "n7.JPEG"
    )  # as the flat layout of the public archive
    (folder / "train" / wnid(3) / "image_0.JPEG").unlink()
    (folder / "val" / "n7.JPEG").rename(folder / "val" / wnid(7))
    (folder / "train" / wnid(3) / "image_1.JPEG").rename(folder / "train" / wnid(3) / "image_1.txt")
    with pytest.raises(UserError, match=rf"train/{wnid(3)}/ holds no image"):
        load(folder)
    (folder / "val").rename(folder / "validation")
    with pytest.raises(UserError, match=r"cannot read .*val/: No such file"):
        load(folder)


# --- Batches --------------------------------------------------------------------------------------


def test_test_images_are_the_centre_as_torchvision_cuts_it(data):
    expected = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    images, labels = one_epoch(StreamedBatches(data.test, SPEC, 30))
    assert labels.tolist() == data.test.labels.tolist()
    for row in range(0, 100, 9):
        wanted = np.array(expected(Image.open(data.test.path(row)).convert("RGB")))
        assert np.array_equal(images[row].permute(1, 2, 0).numpy(), wanted)


def test_every_image_once_an_epoch_in_a_new_order(data):
    batches = training_batches(data)
    assert len(batches) == 4 and batches.count == 200
    sizes = [len(labels) for _, labels, _ in batches]
    assert sizes == [60, 60, 60, 20]
    orders = [batches.requests.__iter__() for _ in range(3)]
    rows = [[row for batch in order for row, *_ in batch] for order in orders]
    for order in rows:
        assert sorted(order) == list(range(200)) and order != list(range(200))
    assert rows[0] != rows[1] != rows[2]


def test_workers_change_nothing(data):
    few = {"seed": 3, "batch_size": 8, "rows": torch.arange(0, 200, 6)}
    alone, two = (training_batches(data, num_workers=n, **few) for n in (0, 2))
    for _ in range(2):  # the second pass runs in the same workers
        for got, wanted in zip(one_epoch(two), one_epoch(alone)):
            assert torch.equal(got, wanted)


def test_the_generator_decides(data):
    rows = torch.arange(0, 200, 6)
    first, again, other = (
        one_epoch(training_batches(data, seed=seed, rows=rows)) for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_each_image_has_draws_of_its_own_in_each_pass(data):
    batches = training_batches(data)
    seeds = [seed for _ in range(2) for batch in batches.requests for *_, seed in batch]
    assert len(set(seeds)) == 400


def test_the_global_generator_is_neither_read_nor_moved(data):
    rows = torch.arange(0, 200, 6)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = one_epoch(training_batches(data, num_workers=1, rows=rows))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(one_epoch(training_batches(data, rows=rows))[0], first[0])


def test_rows_restrict_a_pass(data):
    rows = torch.tensor([5, 105, 17, 3])
    part = training_batches(data, rows=rows, batch_size=3)
    assert part.served_labels.tolist() == [5, 5, 17, 3]
    seen = [(int(p), int(label)) for _, labels, places in part for label, p in zip(labels, places)]
    assert sorted(seen) == [(0, 5), (1, 5), (2, 17), (3, 3)]
    in_order = StreamedBatches(data.train, SPEC, 3, rows=rows)
    assert [labels.tolist() for _, labels, _ in in_order] == [[5, 5, 17], [3]]


def test_without_the_default_da_images_are_centred(data):
    rows = torch.arange(0, 200, 10)
    plain, labels = one_epoch(training_batches(data, rows=rows, crop=False, flip=False))
    centred, in_order = one_epoch(StreamedBatches(data.train, SPEC, 100))
    for image, label in zip(plain, labels.tolist()):
        assert any(
            torch.equal(image, centred[row]) for row in (in_order == label).nonzero().flatten()
        )


def test_a_flip_mirrors_half_of_the_images(data):
    rows = torch.arange(0, 200, 2)
    plain, labels = one_epoch(training_batches(data, rows=rows, crop=False, flip=False))
    flipped, same_order = one_epoch(training_batches(data, rows=rows, crop=False, flip=True))
    assert torch.equal(labels, same_order)
    is_mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, plain)]
    assert all(m or torch.equal(a, b) for m, a, b in zip(is_mirrored, flipped, plain))
    assert 30 < sum(is_mirrored) < 70


def test_random_parts_lie_inside_and_have_the_stated_sizes():
    draw = np.random.default_rng(0)
    areas, ratios = [], []
    for _ in range(3000):
        top, left, height, width = random_part(200, 300, draw)
        assert 0 <= top <= 200 - height and 0 <= left <= 300 - width
        areas.append(height * width / 60000)
        ratios.append(math.log(width / height))
    assert 0.075 < min(areas) < 0.1 and max(areas) > 0.8
    assert abs(np.mean(ratios)) < 0.05 and max(np.abs(ratios)) < math.log(4 / 3) + 0.02
    small = [area for area in areas if area < 0.5]  # these nearly always fit, so they are uniform
    assert abs(np.mean(small) - 0.29) < 0.01


def test_a_very_long_image_falls_back_to_its_middle():
    draw = np.random.default_rng(0)
    parts = {random_part(10, 1000, draw) for _ in range(300)}
    assert (0, 493, 10, 13) in parts


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("content", [b"", b"<html>", "cut off"])
def test_a_damaged_image_is_named(folder, num_workers, content):
    path = folder / "train" / wnid(42) / "image_1.JPEG"
    replace(path, path.read_bytes()[:400] if content == "cut off" else content)
    with pytest.raises(
        UserError, match=rf"{wnid(42)}/image_1.JPEG is damaged or no image: "
    ) as error:
        one_epoch(training_batches(load(folder), num_workers=num_workers))
    assert "\n" not in str(error.value)


def test_an_image_that_vanishes_is_named(folder):
    data = load(folder)
    Path(data.train.path(42)).unlink()
    with pytest.raises(UserError, match=rf"{wnid(42)}/image_0.JPEG does not exist"):
        one_epoch(training_batches(data))


def die(request):
    import os

    os._exit(1)


def test_a_worker_that_dies_is_one_line(data):
    batches = training_batches(data, num_workers=1)
    batches.pool.loader.dataset.load = die
    with pytest.raises(UserError, match=r"a process that decodes images died .*--num_workers"):
        one_epoch(batches)
