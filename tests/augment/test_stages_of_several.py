"""Stages that mix several images, and torchvision's transforms by name."""

import dataclasses
import random
from itertools import product

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from random_images import CIFAR, generator, images_of, pixels_of
from torchvision.transforms import v2

from augment import MixSettings, build
from dataset.batches import Normalize
from helper.errors import UserError

TO_PIXELS = Normalize(CIFAR).undo


def stage(text, **spec):
    return build(text, dataclasses.replace(CIFAR, **spec), MixSettings())


# --- several images ------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", ["batch", "sample"])
def test_resizemix_pastes_the_whole_partner(draw):
    images, resizemix = images_of(2, 4, 32), stage(f"resizemix:draw={draw}")
    for seed in range(4):
        drawn = resizemix.sample(4, generator(seed))
        view = resizemix.apply(images, drawn)
        for row, (x1, y1, x2, y2) in enumerate(drawn.boxes.expand(4, -1).tolist()):
            partner = images[drawn.partner[row]][None]
            wanted = images[row].clone()
            wanted[:, y1:y2, x1:x2] = F.interpolate(
                partner, (y2 - y1, x2 - x1), mode="bilinear", antialias=True
            )[0]
            torch.testing.assert_close(view.images[row], wanted, atol=1e-4, rtol=1e-4)
            assert float(view.lam[row]) == pytest.approx(1 - (x2 - x1) * (y2 - y1) / 1024)
    sides = torch.cat(
        [b[:, 2] - b[:, 0] for b in (resizemix.sample(9, generator(s)).boxes for s in range(400))]
    )
    assert sides.min() == 3 and sides.max() == 25  # a tenth to four fifths of 32


def test_fmix_keeps_its_share_in_few_large_regions():
    fmix, images = stage("fmix:draw=sample"), images_of(2, 64, 32)
    drawn = fmix.sample(64, generator())
    view = fmix.apply(images, drawn)
    assert torch.equal(view.images, torch.where(drawn.kept, images, images[drawn.partner]))
    torch.testing.assert_close(view.lam, drawn.kept.float().mean(dim=(1, 2, 3)))
    assert scipy.stats.kstest(view.lam, "uniform").pvalue > 1e-3
    kept = drawn.kept.int()
    borders = (kept.diff(dim=2).abs().sum() + kept.diff(dim=3).abs().sum()) / 64
    share = (2 * view.lam * (1 - view.lam)).mean()  # of neighbours that would differ in white noise
    assert borders < 0.2 * share * 2 * 31 * 32


@pytest.mark.parametrize("draw", ["batch", "sample"])
def test_ricap_patches_four_crops(draw):
    images, ricap = images_of(2, 5, 16), stage(f"ricap:beta=1,draw={draw}", img_size=16)
    for seed in range(5):
        drawn = ricap.sample(5, generator(seed))
        view = ricap.apply(images, drawn)
        rows, columns = drawn.boundary.expand(2, 5).tolist()
        top, left = (part.expand(4, 5) for part in (drawn.top, drawn.left))
        for image, (row, column) in enumerate(zip(rows, columns)):
            counts = [0] * 4
            for y, x in product(range(16), range(16)):
                part = 2 * (y >= row) + (x >= column)
                counts[part] += 1
                source = image if part == 0 else int(drawn.partner[image, part - 1])
                place = y + int(top[part, image]), x + int(left[part, image])
                assert min(place) >= 0 and max(place) < 16
                assert torch.equal(
                    view.images[image, :, y, x], images[source, :, place[0], place[1]]
                )
            shares = torch.cat([view.lam[image, None], view.shares[image]])
            assert shares.tolist() == pytest.approx([count / 256 for count in counts])


# --- torchvision's transforms by name ------------------------------------------------------------


def test_a_transform_by_name_is_torchvisions_under_its_seed():
    pixels, images = pixels_of()
    elastic = stage("tv.ElasticTransform:alpha=80")
    drawn = elastic.sample(5, generator())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(drawn)
        wanted = v2.ElasticTransform(alpha=80)(pixels)
    assert torch.equal(TO_PIXELS(elastic.apply(images, drawn).images), wanted)


@pytest.mark.parametrize(
    "text",
    [
        "tv.ElasticTransform:alpha=50",
        "tv.RandomPerspective:p=1",
        "tv.JPEG:quality=10..40",
        "tv.GaussianNoise:sigma=0.2",
        "tv.RandomErasing:p=1,scale=0.1..0.2",
        "tv.RandomResizedCrop:interpolation=bicubic",
        "tv.AutoAugment:policy=svhn",
    ],
)
@pytest.mark.parametrize("draw", ["batch", "sample"])
def test_transforms_by_name_repeat_and_leave_the_global_generators_alone(text, draw):
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    before = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    augment, (_, images) = (
        stage(text + (",draw=sample" if draw == "sample" else "")),
        pixels_of(count=3),
    )
    first, again, other = (augment(images, generator(seed)).images for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == images.shape and torch.isfinite(first).all()
    assert torch.equal(torch.random.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [("tv.Elastic", "Did you mean 'tv.ElasticTransform'"), ("tv.ElasticTransform:alfa=5",
    "Did you mean 'alpha'"),
     ("tv.JPEG", "quality= is missing"), ("tv.JPEG:quality=500", "torchvision says"),
     ("tv.FiveCrop", "same shape"), ("tv.RandomRotation:degrees=-4", "torchvision says"),
     ("tv.Resize:size=8", "same shape"), ("tv.Lambda", "missing"), ("tv.ElasticTransform:sigma=40",
     "on images of 32x32 pixels: .*adding"), ("tv.ToDtype:dtype=float", "torchvision says"),
     ("tv.AutoAugment:policy=mnist", "torchvision says")],
)  # fmt: skip
def test_transforms_by_name_that_do_not_go(text, message):
    with pytest.raises(UserError, match=message) as error:
        stage(text)
    assert "\n" not in str(error.value)
