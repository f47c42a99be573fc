"""Batches: normalisation, the default DA, order."""

import numpy as np
import pytest
import torch

from dataset import DataRequest, DatasetSpec, ImageSet, datasets
from dataset.batches import Batches, DefaultDA, Normalize, crop_and_flip

SPEC = datasets["cifar100"].spec(DataRequest())


# --- Normalisation --------------------------------------------------------------------------------


def all_bytes():
    """(256, 1, 1, 3): every byte value in every channel."""
    return torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(256, 1, 1, 3)


@pytest.mark.parametrize("name", [name for name in datasets if name != "folder"])
def test_normalisation_formula_and_its_exact_inverse(name):
    spec = datasets[name].spec(DataRequest())
    normalize = Normalize(spec)
    images = all_bytes()
    got = normalize(images)
    assert got.shape == (256, 3, 1, 1) and got.dtype == torch.float32
    for channel in range(3):
        for byte in (0, 1, 100, 254, 255):
            wanted = (byte / 255 - spec.mean[channel]) / spec.std[channel]
            assert abs(got[byte, channel, 0, 0].item() - wanted) < 1e-6
    assert torch.equal(normalize.undo(got), images.permute(0, 3, 1, 2))
    assert torch.equal(normalize.black, got[0, :, 0, 0])


def test_undo_clips_what_no_byte_can_be():
    normalize = Normalize(SPEC)
    assert normalize.undo(torch.full((1, 3, 1, 1), 9.0)).unique().tolist() == [255]
    assert normalize.undo(torch.full((1, 3, 1, 1), -9.0)).unique().tolist() == [0]


# --- Crop and flip --------------------------------------------------------------------------------


def padded_crop(image, top, left, mirror, padding, fill):
    """The textbook way:

    (H, W, C) padded on all sides, cut out at (padding + top, padding + left), mirrored.
    """
    height, width = image.shape[:2]
    sides = ((padding, padding), (padding, padding))
    planes = [np.pad(image[:, :, c], sides, constant_values=fill[c]) for c in range(image.shape[2])]
    row, column = padding + top, padding + left
    cut = np.stack(planes, axis=-1)[row : row + height, column : column + width]
    return cut[:, ::-1] if mirror else cut


@pytest.mark.parametrize("fill", [(0, 0, 0), (7, 8, 9)])
def test_crop_and_flip_against_padding_by_hand(fill):
    padding, height, width = 4, 6, 9  # not square, so rows and columns cannot be confused
    generator = np.random.default_rng(0)
    images = generator.integers(10, 256, (5, height, width, 3), dtype=np.uint8)
    cases = [
        (number % 5, top, left, mirror)
        for number, (top, left, mirror) in enumerate(
            (top, left, mirror)
            for top in range(-padding, padding + 1)
            for left in range(-padding, padding + 1)
            for mirror in (False, True)
        )
    ]
    index, top, left, mirror = (torch.tensor(column) for column in zip(*cases))
    got = crop_and_flip(
        torch.from_numpy(images), index, top=top, left=left, mirror=mirror, fill=torch.tensor(fill)
    )
    assert got.shape == (len(cases), height, width, 3) and got.dtype == torch.uint8
    for row, (image, *draw) in enumerate(cases):
        wanted = padded_crop(images[image], *draw, padding, fill)
        assert np.array_equal(got[row].numpy(), wanted), cases[row]


def test_crop_and_flip_takes_one_draw_for_all():
    images = torch.randint(0, 256, (4, 5, 5, 3), generator=torch.Generator().manual_seed(0)).byte()
    index = torch.tensor([2, 0, 3])
    one = crop_and_flip(
        images, index, top=torch.tensor([1]), left=torch.tensor([-2]), mirror=torch.tensor([True])
    )
    each = crop_and_flip(
        images,
        index,
        top=torch.tensor([1, 1, 1]),
        left=torch.tensor([-2, -2, -2]),
        mirror=torch.tensor([True, True, True]),
    )
    assert torch.equal(one, each)


# --- Batches --------------------------------------------------------------------------------------


SMALL = DatasetSpec(
    name="small",
    num_classes=1000,
    img_size=8,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    crop_padding=2,
    cutout_size=2,
    autoaugment_policy="cifar10",
)


def small_split(count=150):
    """Images of random bytes, none of them black, each with its row as label."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (count, 8, 8, 3), generator=generator).byte()
    return ImageSet(images, torch.arange(count))


def training_batches(seed=0, batch_size=64, **default_da):
    return Batches(
        small_split(),
        SMALL,
        batch_size,
        generator=torch.Generator().manual_seed(seed),
        default_da=DefaultDA(**default_da),
    )


def one_epoch(batches):
    """(images (N, 3, H, W) uint8, labels (N,)) of a pass."""
    images, labels, _ = zip(*batches)
    return Normalize(SMALL).undo(torch.cat(images)), torch.cat(labels)


def test_every_sample_once_an_epoch_in_a_new_order():
    batches = training_batches()
    orders = [one_epoch(batches)[1] for _ in range(3)]
    for order in orders:
        assert order.sort().values.tolist() == list(range(150))
        assert order.tolist() != list(range(150))
    assert orders[0].tolist() != orders[1].tolist() != orders[2].tolist()


@pytest.mark.parametrize(
    "batch_size, sizes", [(64, [64, 64, 22]), (50, [50, 50, 50]), (500, [150]), (149, [149, 1])]
)
def test_the_last_batch_is_short(batch_size, sizes):
    batches = training_batches(batch_size=batch_size)
    assert [len(labels) for _, labels, _ in batches] == sizes
    assert len(batches) == len(sizes)
    in_order = Batches(small_split(), SMALL, batch_size)
    assert [len(labels) for _, labels, _ in in_order] == sizes and len(in_order) == len(sizes)


def test_images_keep_their_labels_and_are_what_the_draws_say():
    """Each image is one of the 5 x 5 x 2 shifts and mirrors of its original; all of those occur."""
    draws = [
        (top, left, mirror)
        for top in range(-2, 3)
        for left in range(-2, 3)
        for mirror in (False, True)
    ]
    known = [
        {padded_crop(image, *draw, 2, (0, 0, 0)).tobytes(): draw for draw in draws}
        for image in small_split().images.numpy()
    ]
    assert all(len(variants) == 50 for variants in known)
    batches, seen = training_batches(), set()
    for _ in range(6):
        images, labels = one_epoch(batches)
        for image, label in zip(images.permute(0, 2, 3, 1).numpy(), labels.tolist()):
            seen.add(known[label][image.tobytes()])
    assert seen == set(draws)


def test_draws_are_per_sample_and_fair():
    batches = Batches(small_split(4000), SMALL, 64, generator=torch.Generator().manual_seed(0))
    _, top, left, mirror = batches._draw_epoch(batches.generator)
    for offsets in (top, left):
        counts = (offsets + 2).bincount(minlength=5)
        assert len(counts) == 5 and (counts - 800).abs().max() < 4.5 * (4000 * 0.2 * 0.8) ** 0.5
    assert abs(mirror.sum().item() - 2000) < 4.5 * 1000**0.5
    pairs = ((top + 2) * 5 + left + 2).bincount(minlength=25)  # tops and lefts are independent
    assert (pairs - 160).abs().max() < 4.5 * (4000 * 0.04 * 0.96) ** 0.5


def test_the_generator_decides():
    first, again, other = (one_epoch(training_batches(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = one_epoch(training_batches())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(one_epoch(training_batches())[0], first[0])


def test_without_a_generator_batches_are_untouched_and_in_order():
    split = small_split()
    for _ in range(2):
        images, labels = one_epoch(
            Batches(split, SMALL, 64, default_da=DefaultDA(crop=True, flip=True))
        )
        assert torch.equal(images, split.images.permute(0, 3, 1, 2))
        assert torch.equal(labels, split.labels)


def test_default_da_is_on_unless_switched_off():
    split = small_split()
    default = Batches(split, SMALL, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one_epoch(default)[0], one_epoch(training_batches(crop=True, flip=True))[0])


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("flip", [True, False])
def test_switching_a_part_of_the_default_da_off_leaves_the_rest(crop, flip):
    both = training_batches(crop=True, flip=True)._draw_epoch(torch.Generator().manual_seed(3))
    some = training_batches(crop=crop, flip=flip)._draw_epoch(torch.Generator().manual_seed(3))
    assert torch.equal(some[0], both[0])
    assert both[1].any() and both[2].any() and both[3].any()
    for got, full in zip(some[1:3], both[1:3]):
        assert torch.equal(got, full if crop else torch.zeros_like(full))
    assert torch.equal(some[3], both[3] if flip else torch.zeros_like(both[3]))
    if not crop and not flip:
        images, labels = one_epoch(training_batches(crop=False, flip=False))
        assert torch.equal(images, small_split().images.permute(0, 3, 1, 2)[labels])


def test_places_say_where_an_image_stands():
    for _, labels, places in training_batches():
        assert torch.equal(labels, places)  # in this split an image's row is its label
    rows = torch.tensor([30, 10, 20, 140, 0])
    part = Batches(small_split(), SMALL, 2, generator=torch.Generator().manual_seed(0), rows=rows)
    assert (len(part), part.count, part.served_labels.tolist()) == (3, 5, rows.tolist())
    for _ in range(3):
        seen = [
            (place, label) for _, labels, places in part for label, place in zip(labels, places)
        ]
        assert sorted(int(place) for place, _ in seen) == [0, 1, 2, 3, 4]
        assert all(rows[place] == label for place, label in seen)
    in_order = Batches(small_split(), SMALL, 2, rows=rows)
    assert [labels.tolist() for _, labels, _ in in_order] == [[30, 10], [20, 140], [0]]


def test_the_split_itself_stays_as_it_is():
    split = small_split()
    before = split.images.clone()
    for images, *_ in Batches(split, SMALL, 64, generator=torch.Generator().manual_seed(0)):
        images.zero_()
    for images, *_ in Batches(split, SMALL, 64):
        images.zero_()
    assert torch.equal(split.images, before)
