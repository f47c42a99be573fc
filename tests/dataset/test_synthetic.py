"""The embedded data set: repeatable, balanced, closed under mirroring, and clear about wrong
arguments."""

import numpy as np
import pytest
import torch

from dataset import DataRequest, datasets
from dataset.synthetic import (
    BLOCK_PIXELS,
    MAX_CLASSES,
    SHAPES,
    TEXTURES,
    class_parts,
    synthetic_images,
    synthetic_spec,
)
from helper.errors import UserError


@pytest.mark.parametrize(
    ("num_classes", "img_size"), [(2, 16), (10, 32), (37, 20), (100, 64), (1000, 33)]
)
def test_any_number_of_classes_and_size(num_classes, img_size):
    split = synthetic_images("train", 30, num_classes=num_classes, img_size=img_size)
    assert split.images.shape == (30, img_size, img_size, 3)
    assert split.images.dtype == torch.uint8
    assert split.images.is_contiguous()
    assert split.labels.shape == (30,)
    assert split.labels.dtype == torch.int64
    assert set(split.labels.tolist()) <= set(range(num_classes))


def test_same_arguments_same_images_whatever_the_global_state():
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    a = synthetic_images("train", 20, num_classes=10, img_size=16)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    np.random.seed(2)
    b = synthetic_images("train", 20, num_classes=10, img_size=16)
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_fewer_images_are_the_first_ones(extra):
    block = BLOCK_PIXELS // 32**2
    longer = synthetic_images("test", 2 * block + 3, num_classes=7, img_size=32)
    shorter = synthetic_images("test", block + extra, num_classes=7, img_size=32)
    assert torch.equal(shorter.images, longer.images[: block + extra])
    assert torch.equal(shorter.labels, longer.labels[: block + extra])


def test_no_image_comes_twice_in_either_split():
    train = synthetic_images("train", 400, num_classes=5, img_size=32)  # more than one block
    test = synthetic_images("test", 400, num_classes=5, img_size=32)
    everything = torch.cat([train.images, test.images]).flatten(1).numpy()
    assert len(np.unique(everything, axis=0)) == 800
    assert not torch.equal(train.labels, test.labels)


@pytest.mark.parametrize("count", [0, 19, 40, 53])
def test_classes_are_balanced_and_mixed(count):
    labels = synthetic_images("train", count, num_classes=20, img_size=16).labels
    occurrences = torch.bincount(labels, minlength=20)
    assert occurrences.max() - occurrences.min() <= 1
    assert count == 0 or not torch.equal(labels, labels.sort().values)


def test_each_class_has_parts_of_its_own():
    parts = np.stack(class_parts(np.arange(MAX_CLASSES)), axis=1)
    assert len(np.unique(parts, axis=0)) == MAX_CLASSES
    assert not class_parts(np.arange(100))[2].any(), "backgrounds are plain below class 100"


@pytest.mark.parametrize("function", SHAPES + TEXTURES, ids=lambda function: function.__name__)
def test_forms_are_mirror_images_of_themselves(function):
    generator = np.random.default_rng(0)
    u, v = generator.uniform(-1, 1, (2, 1, 30, 30)).astype(np.float32)
    distance, mirrored = function(u, v), function(-u, v)
    assert distance.dtype == np.float32
    if function.__name__ == "_halves":  # its two colours are drawn from one distribution
        mirrored = -mirrored
    np.testing.assert_allclose(distance, mirrored, atol=1e-5)


@pytest.mark.parametrize(("num_classes", "img_size"), [(20, 32), (300, 16)])
def test_spec(num_classes, img_size):
    spec = synthetic_spec(num_classes, img_size)
    assert (spec.name, spec.num_classes, spec.img_size) == ("synthetic", num_classes, img_size)
    assert (spec.crop_padding, spec.cutout_size) == (img_size // 8, img_size // 4)
    images = (
        synthetic_images("train", 1000, num_classes=num_classes, img_size=img_size).images / 255
    )
    assert torch.allclose(images.mean((0, 1, 2)), torch.tensor(spec.mean), atol=0.03)
    assert torch.allclose(images.std((0, 1, 2)), torch.tensor(spec.std), atol=0.03)


def test_registered_and_limited():
    request = DataRequest(num_classes=4, img_size=16, limit_train=9, limit_test=5)
    data = datasets["synthetic"].load(request)
    assert (len(data.train), len(data.test)) == (9, 5)
    assert data.spec == synthetic_spec(4, 16) == datasets["synthetic"].spec(request)


@pytest.mark.parametrize(
    ("num_classes", "img_size", "flag"),
    [
        (1, 32, "--num_classes"),
        (0, 32, "--num_classes"),
        (MAX_CLASSES + 1, 32, "--num_classes"),
        (20, 15, "--img_size"),
        (20, 0, "--img_size"),
        (20, 100_000, "--img_size"),
    ],
)
def test_wrong_arguments_are_named_in_one_line(num_classes, img_size, flag):
    value = num_classes if flag == "--num_classes" else img_size
    for call in (
        lambda: synthetic_spec(num_classes, img_size),
        lambda: synthetic_images("train", 4, num_classes=num_classes, img_size=img_size),
    ):
        with pytest.raises(UserError, match=f"{flag}.*got {value}") as error:
            call()
        assert "\n" not in str(error.value)


def test_wrong_split_and_count():
    with pytest.raises(UserError, match=r"'val'.*train, test"):
        synthetic_images("val", 4, num_classes=4, img_size=16)
    with pytest.raises(UserError, match="-1"):
        synthetic_images("train", -1, num_classes=4, img_size=16)
