"""Stages beyond the paper's: each against torchvision, or against its formula written another
way."""

import dataclasses
from itertools import product

import pytest
import scipy.stats
import torch
import torchvision.transforms.autoaugment as tv_auto
import torchvision.transforms.functional as tv
from torchvision.transforms import InterpolationMode
from random_images import CIFAR, generator, images_of, pixels_of

from augment import MixSettings, build
from augment.augmix import AugMixDraw
from augment.draws import draw_beta, draw_dirichlet
from augment.cutout import HoleDraw
from augment.gridmask import GridDraw
from augment.jitter import JitterDraw
from augment.operations import OPERATIONS, SIGNED, Operation, Space, changed, operate
from augment.randaugment import NAMES, OperationDraw
from dataset.batches import Normalize
from helper.errors import UserError

TO_PIXELS = Normalize(CIFAR).undo


def stage(text, **spec):
    return build(text, dataclasses.replace(CIFAR, **spec), MixSettings())


@pytest.mark.parametrize(
    ("scheme", "operation"),
    [
        ("invert", tv.invert),
        ("grayscale", lambda pixels: tv.rgb_to_grayscale(pixels, 3)),
        ("channels", lambda pixels: pixels[:, [2, 1, 0]]),
        ("channels:order=gbr", lambda pixels: pixels[:, [1, 2, 0]]),
    ],
)
def test_colours_are_torchvisions(scheme, operation):
    pixels, images = pixels_of()
    view = TO_PIXELS(stage(scheme)(images, generator()).images)
    assert (view.int() - operation(pixels).int()).abs().max() <= (scheme == "grayscale")


@pytest.mark.parametrize("draw", ["batch", "sample"])
def test_resizedcrop_is_torchvisions_and_stays_in_its_bounds(draw):
    images = images_of(3, 4, 32)
    augment = stage(f"resizedcrop:draw={draw},scale_min=0.2,scale_max=0.5")
    for seed in range(5):
        view = augment(images, generator(seed)).images
        boxes = augment.sample(4, generator(seed)).expand(4, -1).tolist()
        for image, got, (x1, y1, x2, y2) in zip(images, view, boxes):
            wanted = tv.resized_crop(image, y1, x1, y2 - y1, x2 - x1, [32, 32], antialias=True)
            torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
    x1, y1, x2, y2 = torch.cat([augment.sample(64, generator(s)) for s in range(40)]).double().T
    area, ratio = (x2 - x1) * (y2 - y1) / 32**2, (x2 - x1) / (y2 - y1)
    assert 0.17 < area.min() < 0.27 and 0.43 < area.max() < 0.54
    assert 0.70 < ratio.min() < 0.85 and 1.18 < ratio.max() < 1.43
    assert min(x1.min(), y1.min()) == 0 and max(x2.max(), y2.max()) == 32


@pytest.mark.parametrize("draw", ["batch", "sample"])
def test_patches_are_the_images_own(draw):
    images = torch.arange(3.0 * 3 * 8 * 8).reshape(3, 3, 8, 8)
    augment = stage(f"patches:draw={draw}", img_size=8)
    order = augment.sample(3, generator(1)).expand(3, -1)
    view = augment(images, generator(1)).images
    for row in range(3):
        for place, patch in enumerate(order[row].tolist()):
            (y, x), (old_y, old_x) = divmod(place, 2), divmod(patch, 2)
            got = view[row, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
            old = images[row, :, 4 * old_y : 4 * old_y + 4, 4 * old_x : 4 * old_x + 4]
            assert torch.equal(got, old)
    with pytest.raises(UserError, match="grid=5 does not divide the 32 pixels"):
        stage("patches:grid=5")


def test_noise_is_normal_and_of_its_own_in_each_image():
    images = torch.zeros(8, 3, 32, 32)
    noise = stage("noise:sigma=0.5")(images, generator()).images
    assert noise.std() == pytest.approx(0.5, rel=0.02) and abs(noise.mean()) < 0.02
    assert scipy.stats.kstest(noise.flatten() / 0.5, "norm").pvalue > 1e-3
    assert (noise[0] - noise[1]).std() == pytest.approx(0.5 * 2**0.5, rel=0.05)


def test_mean_takes_different_images_and_other_no_image_of_its_own():
    images = images_of(5, 6, 8)
    view = stage("mean:k=4")(images, generator())
    for row, partners in enumerate(view.partner.tolist()):
        assert len({row, *partners}) == 4
        torch.testing.assert_close(view.images[row], images[[row, *partners]].mean(0))
    labels = torch.nn.functional.one_hot(torch.arange(6)).float()
    assert torch.equal(view.mix(labels) > 0, (view.mix(labels) - 0.25).abs() < 1e-6)
    assert view.mix(labels).sum(1).tolist() == pytest.approx([1] * 6)
    other = stage("other")(images, generator())
    assert torch.equal(other.images, images[other.partner])
    assert torch.equal(other.mix(labels), labels[other.partner])
    assert not (other.partner == torch.arange(6)).any()


def test_grey_says_nothing():
    assert not stage("grey")(images_of(0, 2, 32), generator()).images.any()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixing_weights_have_their_distribution(alpha):
    lam = draw_beta(alpha, 4000, generator())
    assert scipy.stats.kstest(lam.numpy(), scipy.stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("size", [7, 8])
def test_cutout_has_its_size_and_number_of_holes(size):
    cutout = stage(f"cutout:holes=3,size={size}")
    ones = torch.ones(1, 3, 32, 32)
    far = HoleDraw(torch.tensor([8, 8, 24]), torch.tensor([8, 24, 0]))
    holes = cutout.apply(ones, far).images[0, 0] == 0
    assert int(holes.sum()) == 2 * size**2 + size * (size - size // 2)
    assert holes[8 - size // 2 : 8 - size // 2 + size, 8].all()


# --- operations on bytes -------------------------------------------------------------------------


SPACES = {
    "AutoAugment": Space(10, 0.3, 150 / 331 * 32, 30, 0.9, (8, 4)),
    "RandAugment": Space(31, 0.3, 150 / 331 * 32, 30, 0.9, (8, 4)),
    "TrivialAugmentWide": Space(31, 0.99, 32, 135, 0.99, (8, 6)),
    "AugMix": Space(10, 0.3, 32 / 3, 30, 0.9, (4, 4)),
}


def one_operation(pixels, name, strength, mode=InterpolationMode.NEAREST):
    return tv_auto._apply_op(pixels, name, strength, mode, None)


@pytest.mark.parametrize("policy", SPACES)
def test_operations_are_torchvisions_to_the_byte(policy):
    """At every strength that the policy can draw, for a batch with one strength and with one
    each."""
    space, original = SPACES[policy], getattr(tv_auto, policy)()
    size = () if policy == "TrivialAugmentWide" else ((32, 32),)
    pixels, _ = pixels_of(count=31)
    pixels[0], pixels[1, :, :4] = 7, 0
    for name, (strengths, is_signed) in original._augmentation_space(space.bins, *size).items():
        assert is_signed == (name in SIGNED)
        of_space = [space.strength(name, step) for step in range(space.bins)]
        assert of_space == (strengths.tolist() if strengths.ndim else [0.0] * space.bins)
        for sign in (1, -1) if is_signed else (1,):
            given = torch.tensor([sign * strength for strength in of_space], dtype=torch.float64)
            got = changed(pixels[: space.bins], name, given, "nearest")
            for image, result, strength in zip(pixels, got, given.tolist()):
                assert torch.equal(one_operation(image, name, strength), result), (name, strength)
            alike = changed(pixels[:3], name, given[-1:], "nearest")
            assert torch.equal(alike, one_operation(pixels[:3], name, float(given[-1])))


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_torchvisions_when_bilinear(name):
    """To one grey level: sums of four products are rounded."""
    pixels, _ = pixels_of(count=3)
    strengths = torch.tensor([0.25, -0.5, 3.0], dtype=torch.float64)
    got = changed(pixels, name, strengths, "bilinear")
    for image, result, strength in zip(pixels, got, strengths.tolist()):
        wanted = one_operation(image, name, strength, InterpolationMode.BILINEAR)
        assert (result.int() - wanted.int()).abs().max() <= 1


def test_images_keep_their_places_when_each_has_its_own_operation():
    pixels, _ = pixels_of(count=9)
    names = [NAMES[index] for index in (3, 1, 13, 3, 0, 12, 1, 8, 3)]
    strengths = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    changed = operate(pixels, Operation(names, strengths))
    for image, got, name, strength in zip(pixels, changed, names, strengths.tolist()):
        assert torch.equal(got, one_operation(image, name, strength)), name


@pytest.mark.parametrize("draw", ["batch", "sample"])
def test_randaugment_and_trivialaugment_do_what_was_drawn(draw):
    pixels, images = pixels_of()
    for text, space in (
        ("randaugment:magnitude=20,num_ops=3", "RandAugment"),
        ("trivialaugment", "TrivialAugmentWide"),
    ):
        augment = stage(f"{text}{',' if ':' in text else ':'}draw={draw}")
        drawn = augment.sample(5, generator(3))
        got = TO_PIXELS(augment.apply(images, drawn).images)
        for row in range(5):
            image = pixels[row]
            for one in drawn:
                name, step, negative = (int(part.expand(5)[row]) for part in one)
                strength = SPACES[space].strength(NAMES[name], step)
                sign = -1 if negative and NAMES[name] in SIGNED else 1
                image = one_operation(image, NAMES[name], sign * strength)
            assert torch.equal(got[row], image)
    assert {int(one.step) for one in stage("randaugment:magnitude=20").sample(1, generator())} == {
        20
    }


def test_augmix_mixes_the_image_with_its_chains():
    pixels, images = pixels_of(count=2)
    one = torch.ones(1, dtype=torch.long)
    solarize, rotate = NAMES.index("Solarize"), NAMES.index("Rotate")
    chains = [
        [OperationDraw(one * solarize, one * 2, one), OperationDraw(one * rotate, one, one)],
        [],
    ]
    weights = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
    view = stage("augmix:width=2").apply(images, AugMixDraw(weights, chains)).images
    space = SPACES["AugMix"]
    bright = one_operation(pixels, "Solarize", space.strength("Solarize", 2))
    turn, bilinear = -space.strength("Rotate", 1), InterpolationMode.BILINEAR
    turned = one_operation(bright, "Rotate", turn, bilinear)
    assert not torch.equal(turned, one_operation(bright, "Rotate", turn))
    wanted = Normalize(CIFAR)((0.5 * pixels + 0.5 * turned).permute(0, 2, 3, 1))
    torch.testing.assert_close(view, wanted, atol=1 / 255 / min(CIFAR.std), rtol=1e-4)


def test_augmix_draws_depths_of_one_to_three_and_dirichlet_weights():
    augment = stage("augmix:draw=sample,severity=2")
    drawn = augment.sample(3000, generator())
    depths = torch.stack(
        [torch.stack([one.name for one in chain]) > 0 for chain in drawn.chains]
    ).sum(1)
    assert [int((depths == depth).sum()) for depth in (1, 2, 3)] == pytest.approx(
        [3000] * 3, rel=0.1
    )
    assert {int(step) for chain in drawn.chains for one in chain for step in one.step} == {0, 1}
    torch.testing.assert_close(drawn.weights.sum(1), torch.ones(3000, dtype=torch.float64))
    assert scipy.stats.kstest(drawn.weights[:, 0], "uniform").pvalue > 1e-3
    for alpha in (0.3, 1.0, 5.0):
        weights = draw_dirichlet(alpha, (4000, 3), generator())
        assert (
            scipy.stats.kstest(weights[:, 1], scipy.stats.beta(alpha, 2 * alpha).cdf).pvalue > 1e-3
        )


# --- holes, colours, blur, geometry --------------------------------------------------------------


@pytest.mark.parametrize("value", ["mean", "noise"])
def test_erasing_fills_a_rectangle_of_its_scale_and_ratio(value):
    erasing = stage(f"erasing:p=1,value={value}")
    ones = torch.ones(4, 3, 32, 32)
    areas, ratios = [], []
    for seed in range(200):
        changed = erasing(ones, generator(seed)).images[0] != 1
        rows, columns = changed[0].any(1).sum(), changed[0].any(0).sum()
        assert changed.sum() == 3 * rows * columns
        areas.append(float(rows * columns) / 1024)
        ratios.append(float(columns / rows))
    assert 0.015 < min(areas) < 0.05 and 0.28 < max(areas) < 0.36
    assert 0.2 < min(ratios) < 0.5 and 2 < max(ratios) < 4
    view = erasing(ones, generator(2)).images
    assert set(view.unique().tolist()) == {0.0, 1.0} if value == "mean" else len(view.unique()) > 50


def grid_holes(degrees):
    """(32, 32) bool: where gridmask hides a white image, in a grid of period 10 from (3, 7)."""
    starts = (torch.tensor([number]) for number in (10, 3, 7))
    draw = GridDraw(*starts, torch.tensor([degrees], dtype=torch.float64))
    return stage("gridmask:p=1").apply(torch.ones(1, 3, 32, 32), draw).images[0, 0] == 0


def test_gridmask_has_the_papers_holes():
    straight = grid_holes(0.0)
    for y, x in product(range(32), range(32)):
        is_hole = (y - 3) % 10 < 4 and (x - 7) % 10 < 4  # (1 - 0.6) * 10 pixels
        assert bool(straight[y, x]) == is_hole
    draws = [stage("gridmask:p=1").sample(1, generator(seed)) for seed in range(300)]
    periods = torch.cat([draw.period for draw in draws])
    assert (periods.min(), periods.max()) == (14, 32)
    degrees = torch.cat([draw.degrees for draw in draws]) / 360
    assert scipy.stats.kstest(degrees, "uniform").pvalue > 1e-3
    assert stage("gridmask:degrees=0,p=1").sample(1, generator()).degrees == 0
    assert stage("gridmask").p == 0.8


def test_gridmask_turns_its_grid():
    straight = grid_holes(0.0)
    assert torch.equal(grid_holes(180.0), straight.flip(0, 1))
    assert any(torch.equal(grid_holes(90.0), straight.rot90(k)) for k in (1, 3))
    assert abs(int(grid_holes(30.0).sum()) / 1024 - 0.4**2) < 0.05
    assert not torch.equal(grid_holes(30.0), straight)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 0, 1]])
def test_jitter_is_torchvisions(order):
    _, images = pixels_of(count=4)
    pixels = Normalize(CIFAR).undo_to_floats(images)
    factors = torch.tensor(
        [[0.7, 1.2, 1.4, 1], [1.3, 0.8, 1, 1.5], [0.6, 1.4, 1, 2], [0.1, -0.3, 0.05, 0]]
    )
    view = stage("jitter:p=1").apply(images, JitterDraw(order, factors)).images
    functions = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    for image, got, own in zip(pixels, view, factors.T.tolist()):
        for place in order:
            image = functions[place](image, own[place])
        torch.testing.assert_close(
            Normalize(CIFAR).undo_to_floats(got[None])[0], image, atol=2e-5, rtol=0
        )
    for seed in range(50):
        drawn = stage("jitter:hue=0.2,p=1").sample(1, generator(seed))
        assert sorted(drawn.order) == [0, 1, 2, 3]
        assert (drawn.factors[:3] - 1).abs().max() <= 0.4 and drawn.factors[3].abs() <= 0.2


@pytest.mark.parametrize(("side", "size"), [(32, 3), (64, 7)])
def test_blur_is_torchvisions(side, size):
    images, sigmas = images_of(1, 3, side), torch.tensor([0.1, 0.8, 2.0])
    view = stage("blur:p=1", img_size=side).apply(images, sigmas).images
    for image, got, sigma in zip(images, view, sigmas.tolist()):
        torch.testing.assert_close(
            got, tv.gaussian_blur(image, [size, size], [sigma, sigma]), atol=1e-5, rtol=1e-4
        )


def test_rotate_and_translate_are_torchvisions_with_black_outside():
    images, black = images_of(1, 3, 32), Normalize(CIFAR).black
    angles = torch.tensor([10.0, -75.0, 160.0], dtype=torch.float64)
    view = stage("rotate").apply(images, angles).images
    for image, got, angle in zip(images, view, angles.tolist()):
        wanted = tv.rotate(image - black[:, None, None], angle, InterpolationMode.BILINEAR)
        torch.testing.assert_close(got, wanted + black[:, None, None], atol=2e-4, rtol=1e-3)
    translate = stage("translate:share=0.5")
    drawn = translate.sample(1, generator(1))
    wanted = tv.affine(
        images - black[:, None, None], 0, [-int(drawn.left), -int(drawn.top)], 1, [0, 0]
    )
    torch.testing.assert_close(translate.apply(images, drawn).images, wanted + black[:, None, None])
    tops = torch.cat([translate.sample(1, generator(seed)).top for seed in range(400)])
    assert (tops.min(), tops.max()) == (-16, 16)
