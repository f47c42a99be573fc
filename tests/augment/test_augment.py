"""The mix modes: golden boxes, mixes, holes, crops and policies; and what must hold for each of
them."""

import json

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tv
from places import GOLDEN
from random_images import CIFAR, generator, images_of, pick_logits

from augment import MixSettings, Pick, mix_modes, pick_criteria, picks
from augment.autoaugment import PolicyDraw
from augment.cutmix import CutMixDraw
from augment.draws import centred_boxes, cut_side, derangement, draw_box, kept_share, scale_lam
from augment.cutout import HoleDraw
from augment.geometric import ShiftDraw
from augment.mixup import MixUpDraw
from augment.operations import equalize
from dataset.batches import Normalize
from dataset.spec import DatasetSpec
from helper.cli.schedule import EpochSchedule

FACTS = json.loads((GOLDEN / "da.json").read_text())
ARRAYS = np.load(GOLDEN / "da.npz")

TINY = DatasetSpec(
    "tinyimagenet", 200, 64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 8, 16, "imagenet"
)
SPECS = {"cifar100": CIFAR, "tinyimagenet": TINY}
MIXING = [mode for mode in mix_modes if mix_modes[mode].mixes]


def make(mode, spec=CIFAR, **settings):
    return mix_modes[mode](spec, MixSettings(**settings))


def is_fixed(mode):
    """Whether it makes no random draw, also in no stage that it consists of."""
    draws = make(mode).sample(6, generator())
    return draws is None or all(draw is None for draw in draws)


FIXED = [mode for mode in mix_modes if is_fixed(mode)]
DRAWN_ALIKE = [mode for mode in mix_modes if mode not in (*MIXING, *FIXED, "noise")]


def test_equalize_is_torchvisions():
    """Also of one colour, of two, of few pixels, and of all byte values."""
    rng = np.random.RandomState(0)
    shapes = (
        rng.randint(0, 256, (6, 3, 32, 32)),
        rng.randint(100, 103, (2, 3, 16, 16)),
        np.full((1, 3, 8, 8), 7),
    )
    skewed = (
        rng.beta(0.3, 2, (3, 1, 64, 64)) * 255,
        np.arange(256).repeat(4).reshape(1, 1, 32, 32),
    )
    for values in (*shapes, *skewed):
        pixels = torch.from_numpy(values.astype(np.uint8))
        assert torch.equal(equalize(pixels), tv.equalize(pixels)), values.shape


# --- golden values -------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 64])
def test_boxes_of_every_centre(side):
    lams = torch.from_numpy(ARRAYS[f"bbox/{side}/lam"])
    for index, lam in enumerate(lams):
        center_x, center_y = (
            c.flatten()
            for c in torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        )
        half = (cut_side(lam[None], side) // 2).expand(side * side)
        boxes = centred_boxes(center_x, center_y, half, half, height=side, width=side)
        expected = ARRAYS[f"bbox/{side}/box_x1y1x2y2"][index].reshape(-1, 4)
        np.testing.assert_array_equal(boxes.numpy(), expected)
        adjusted = ARRAYS[f"bbox/{side}/lam_adjusted"][index].flatten()
        np.testing.assert_allclose(
            kept_share(boxes, side, side).numpy(), adjusted, rtol=0, atol=1e-15
        )


def test_box_of_an_oblong_image():
    lam = torch.tensor([0.5], dtype=torch.float64)
    halves = cut_side(lam, 64) // 2, cut_side(lam, 32) // 2
    box = centred_boxes(torch.tensor([20]), torch.tensor([3]), *halves, height=32, width=64)
    assert box[0].tolist() == FACTS["bbox"]["nonsquare_H32_W64_lam0.5_cx20_cy3"]


def cutmix_case(case):
    lam = torch.tensor([case["lam_drawn"]], dtype=torch.float64)
    if case["ceiling_ratio"] >= 0:
        lam = scale_lam(lam, case["floor_ratio"], case["ceiling_ratio"])
    side = case["S"]
    half = cut_side(lam, side) // 2
    center = torch.tensor([case["cx"]]), torch.tensor([case["cy"]])
    return CutMixDraw(
        centred_boxes(*center, half, half, height=side, width=side), torch.tensor(case["perm"])
    )


@pytest.mark.parametrize("case", FACTS["cutmix"]["cases"], ids=lambda case: case["tag"])
def test_cutmix_images_labels_and_logits(case):
    images = images_of(11, 6, case["S"])
    view = make("cutmix", CIFAR if case["S"] == 32 else TINY).apply(images, cutmix_case(case))
    stored = ARRAYS[f"{case['tag']}/image"]
    np.testing.assert_array_equal(view.images[: len(stored)].numpy(), stored)
    assert view.lam.tolist() == [pytest.approx(case["lam_adjusted"], abs=1e-7)] * 6
    one_hot = torch.nn.functional.one_hot(torch.tensor([3, 1, 4, 1, 5, 9]), 10).float()
    logits_t = torch.from_numpy(
        np.random.RandomState(12).standard_normal((6, 10)).astype(np.float32) * 5
    )
    logits_s = torch.from_numpy(
        np.random.RandomState(13).standard_normal((6, 10)).astype(np.float32) * 3
    )
    for rows, key in ((one_hot, "target"), (logits_t, "logit_t"), (logits_s, "logit_s")):
        np.testing.assert_allclose(
            view.mix(rows).numpy(), ARRAYS[f"{case['tag']}/{key}"], atol=2e-6
        )


@pytest.mark.parametrize("case", FACTS["mixup"]["cases"], ids=lambda case: case["tag"])
def test_mixup_images(case):
    draw = MixUpDraw(torch.tensor([case["lam"]], dtype=torch.float64), torch.tensor(case["perm"]))
    view = make("mixup").apply(images_of(11, 6, 32), draw)
    np.testing.assert_allclose(view.images.numpy(), ARRAYS[f"{case['tag']}/image"], atol=1e-6)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_cutout_holes_of_every_centre(spec):
    side = spec.img_size
    expected = ARRAYS[f"cutout/{side}/y1y2x1x2_by_center_yx"]
    ones = torch.ones(1, 3, side, side)
    cutout = make("cutout", spec)
    for y in range(0, side, 3):
        for x in range(0, side, 5):
            hole = cutout.apply(ones, HoleDraw(torch.tensor([y]), torch.tensor([x]))).images[0] == 0
            y1, y2, x1, x2 = expected[y, x]
            wanted = torch.zeros(side, side, dtype=torch.bool)
            wanted[y1:y2, x1:x2] = True
            assert torch.equal(hole, wanted.expand(3, -1, -1))


def test_cutout_image():
    draw = HoleDraw(torch.tensor([9]), torch.tensor([30]))
    view = make("cutout").apply(images_of(11, 6, 32), draw)
    np.testing.assert_array_equal(view.images.numpy(), ARRAYS["cutout/example_image_y9_x30"])


def lowered(dataset, pixels):
    """The original's way through uint8 lowers some bytes by one.

    This code does not, so the tests start from the lowered bytes.
    """
    return ARRAYS[f"uint8_roundtrip/{dataset}"][np.arange(3)[None, :, None, None], pixels]


@pytest.mark.parametrize("case", FACTS["cropflip"], ids=lambda case: case["tag"])
def test_crop_and_flip_pixels(case):
    _, dataset, mode, _, _ = case["tag"].split("/")
    spec = SPECS[dataset]
    side = spec.img_size
    pixels = np.random.RandomState(21).randint(0, 256, (3, 3, side, side)).astype(np.uint8)
    images = Normalize(spec)(torch.from_numpy(lowered(dataset, pixels)).permute(0, 2, 3, 1))
    top, left = (torch.tensor([offset - case["padding"]]) for offset in case["offset_ij"])
    if mode == "flip":
        top = left = torch.zeros(1, dtype=torch.long)
    view = make(mode, spec).apply(images, ShiftDraw(top, left, torch.tensor([case["flip"]])))
    np.testing.assert_array_equal(
        Normalize(spec).undo(view.images).numpy(), ARRAYS[f"{case['tag']}/uint8"]
    )
    assert case["padding"] == spec.crop_padding


@pytest.mark.parametrize(
    "case",
    FACTS["autoaugment"]["cases"],
    ids=lambda case: f"{case['dataset']}-{case['torch_seed']}",
)
def test_autoaugment_pixels(case):
    dataset = case["dataset"]
    spec, seeds = SPECS[dataset], FACTS["autoaugment"][f"seeds_{dataset}"]
    side, step = spec.img_size, 1 if dataset == "cifar100" else 2
    y, x = np.mgrid[:side, :side]
    ramp = np.stack([y * 255 // (side - 1), x * 255 // (side - 1), (y + x) * 255 // (2 * side - 2)])
    noise = np.random.RandomState(22).randint(0, 256, (3, side, side))
    pixels = torch.from_numpy(lowered(dataset, np.stack([ramp, 255 - ramp, noise])))
    auto = make("autoaugment", spec)
    draw = PolicyDraw(case["policy_id"], torch.tensor(case["probs"]), torch.tensor(case["signs"]))
    view = auto.apply(Normalize(spec)(pixels.permute(0, 2, 3, 1)), [draw])
    stored = ARRAYS[f"autoaugment/{dataset}/tv0.29.2+cu132/uint8_by_seed"][
        seeds.index(case["torch_seed"])
    ]
    shown = Normalize(spec).undo(view.images)[:, :, ::step, ::step].numpy()
    np.testing.assert_array_equal(shown, stored)


@pytest.mark.parametrize("case", FACTS["cutmix_pick"]["cases"], ids=lambda case: case["tag"])
def test_pick_scores_and_order(case):
    criterion, logits = pick_criteria[case["criterion"]], pick_logits()
    scores = criterion.score(logits, 4.0).numpy()
    np.testing.assert_allclose(scores, ARRAYS[f"{case['tag']}/score"], rtol=2e-6, atol=1e-6)
    kept = Pick(criterion, case["n_pick"], temperature=4.0)(logits)
    assert (
        kept.tolist()
        == case["picked_in_order"]
        == ARRAYS[f"{case['tag']}/picked_pool_index"].tolist()
    )


@pytest.mark.parametrize(
    "case",
    [c for c in FACTS["cutmix_pick"]["cases"] if c["draw_log"]],
    ids=lambda case: case["tag"],
)
def test_pick_mixes_labels_and_logits_of_the_picked(case):
    log, draws = list(case["draw_log"]), []
    while log:
        lam = torch.tensor([log.pop(0)[2]], dtype=torch.float64)
        center_x, center_y = (torch.tensor([log.pop(0)[2]]) for _ in range(2))
        partner = torch.tensor(log.pop(0)[2])
        while (partner == torch.arange(8)).any():
            partner = torch.tensor(log.pop(0)[2])
        half = cut_side(lam, 32) // 2
        draws.append(
            CutMixDraw(centred_boxes(center_x, center_y, half, half, height=32, width=32), partner)
        )
    pool = make("cutmix_pick").apply(images_of(31, 8, 32), draws)
    view = pool.take(torch.tensor(case["picked_in_order"]))
    clean_t = torch.from_numpy(
        np.random.RandomState(34).standard_normal((8, 10)).astype(np.float32) * 4
    )
    clean_s = torch.from_numpy(
        np.random.RandomState(35).standard_normal((8, 10)).astype(np.float32) * 2
    )
    one_hot = torch.nn.functional.one_hot(torch.arange(8), 10).float()
    for rows, key in ((one_hot, "target_mix"), (clean_t, "logit_t_mix"), (clean_s, "logit_s_mix")):
        np.testing.assert_allclose(
            view.mix(rows).numpy(), ARRAYS[f"{case['tag']}/{key}"], atol=2e-6
        )


@pytest.mark.parametrize("kind", ["square_rand_bbox", "simpler_rand_bbox"])
def test_other_boxes_lie_inside_and_reach_their_bounds(kind):
    lam = torch.full((20000,), 0.3, dtype=torch.float64)
    boxes = draw_box[kind](lam, 32, 32, generator())
    x1, y1, x2, y2 = boxes.T
    assert ((boxes >= 0) & (boxes <= 32)).all() and (x1 < x2).all() and (y1 < y2).all()
    if kind == "square_rand_bbox":
        side = int(32 * 0.7**0.5)  # the recorded case: 26 pixels, corners drawn from 0..6
        assert (x2 - x1 == side).all() and (y2 - y1 == side).all()
        assert sorted(set(x1.tolist())) == list(range(7)) == sorted(set(y1.tolist()))
    else:
        assert set(x1.tolist()) == set(range(32)) and x2.max() == 32
        at_five = x2[x1 == 5]  # recorded: drawn from 6..32
        assert set(at_five.tolist()) == set(range(6, 33))


# --- what holds for every mode --------------------------------------------------------------------


def test_what_makes_no_draw():
    """Asked of the stages, so that a new one need not be listed here."""
    known = {"identity", "invert", "grayscale", "channels", "grey", "pick"}
    assert known <= set(FIXED) and not {"flip", "cutout", "mixup", "cutmix_pick"} & set(FIXED)


@pytest.mark.parametrize("draw", ["batch", "sample"])
@pytest.mark.parametrize("mode", mix_modes)
class TestEveryMode:
    def test_result(self, mode, draw):
        images = images_of(1, 6, 32)
        before = images.clone()
        view = make(mode, draw=draw)(images, generator())
        count = 12 if picks(mode) else 6
        assert view.images.shape == (count, 3, 32, 32) and view.images.dtype == torch.float32
        assert torch.equal(images, before), "the batch must stay as it is"
        assert torch.isfinite(view.images).all()
        if mode in MIXING:
            assert len(view.partner) == len(view.lam) == count
            assert ((view.lam >= 0) & (view.lam <= 1)).all()
            if view.shares is not None:
                torch.testing.assert_close(view.lam + view.shares.sum(1), torch.ones(count))
            seeds = range(3, 8)
            others = [make(mode)(images, generator(seed)).lam for seed in seeds]
            is_drawn = any(not torch.equal(others[0], other) for other in others)
            weights = set(view.lam.tolist())
            assert len(weights) > 2 if is_drawn and draw == "sample" else len(weights) <= 2
        else:
            assert view.partner is None and view.lam is None
            assert (view.source is not None) == picks(mode)

    def test_one_generator_state_one_view(self, mode, draw):
        images = images_of(1, 6, 32)
        augment = make(mode, draw=draw)
        first, second = augment(images, generator(3)), augment(images, generator(3))
        assert torch.equal(first.images, second.images)
        if mode not in FIXED:
            others = [augment(images, generator(seed)).images for seed in range(4, 10)]
            assert any(not torch.equal(first.images, other) for other in others)

    def test_the_global_generator_is_not_read(self, mode, draw):
        torch.random.manual_seed(5)
        state = torch.random.get_rng_state()
        make(mode, draw=draw)(images_of(1, 6, 32), generator())
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_batch_of_one(self, mode, draw):
        view = make(mode, draw=draw)(images_of(1, 1, 32), generator())
        assert len(view.images) == (2 if picks(mode) else 1)

    def test_channels_last_stays_fast(self, mode, draw):
        images = images_of(1, 6, 32).to(memory_format=torch.channels_last)
        plain = make(mode, draw=draw)(images.contiguous(), generator())
        view = make(mode, draw=draw)(images, generator())
        assert view.images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(view.images, plain.images)


@pytest.mark.parametrize("draw", ["batch", "sample"])
@pytest.mark.parametrize("mode", MIXING)
def test_mixing_is_what_partner_and_lam_say(mode, draw):
    # Images of one constant value each: the share of a view's pixels that are its own is lam.
    values = torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0])
    images = values[:, None, None, None].expand(-1, 3, 32, 32)
    view = make(mode, draw=draw)(images, generator(1))
    others = values[view.partner]  # (P,) or (P, S)
    others = (1 - view.lam) * others if view.shares is None else (view.shares * others).sum(1)
    expected = view.lam * view.own(values) + others
    torch.testing.assert_close(view.images.mean(dim=(1, 2, 3)), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(view.mix(values[:, None])[:, 0], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("mode", DRAWN_ALIKE)
def test_one_draw_per_batch_changes_every_image_alike(mode):
    one = images_of(2, 1, 32)
    images = one.repeat(8, 1, 1, 1)
    for seed in range(5):
        view = make(mode)(images, generator(seed))
        assert torch.equal(view.images, view.images[:1].expand(8, -1, -1, -1))
    different = [make(mode, draw="sample")(images, generator(seed)).images for seed in range(5)]
    assert any(not torch.equal(each, each[:1].expand(8, -1, -1, -1)) for each in different)


def test_derangement_is_uniform_and_has_no_fixed_point():
    rows, seen, random = torch.arange(4), {}, generator()
    for _ in range(9000):
        permutation = derangement(4, random)
        assert not (permutation == rows).any()
        seen[tuple(permutation.tolist())] = seen.get(tuple(permutation.tolist()), 0) + 1
    assert len(seen) == 9  # the derangements of 4
    assert all(abs(count - 1000) < 5 * 31 for count in seen.values())


def test_lam_schedule_bounds_the_box():
    schedule = EpochSchedule(1.0, ((0, 0.75), (150, 1.0)))
    cutmix = make("cutmix", ceiling=schedule.at, floor=lambda epoch: 0.5)
    cutmix.start_epoch(149)
    # lam in 0.5..0.75: a box side of at least 32 * sqrt(0.25) = 16 (15 or more after halving)
    # unless clipped
    boxes = torch.cat([cutmix.sample(2, generator(seed)).boxes for seed in range(300)])
    assert (boxes[:, 2:] - boxes[:, :2]).max() <= 22
    cutmix.start_epoch(150)
    boxes = torch.cat([cutmix.sample(2, generator(seed)).boxes for seed in range(300)])
    assert (boxes[:, 2:] - boxes[:, :2]).min() < 8


def test_lam_is_uniform():
    lams = torch.cat(
        [make("mixup", draw="sample").sample(1000, generator(s)).lam for s in range(10)]
    )
    counts = torch.histc(lams.float(), bins=10, min=0, max=1)
    assert (counts - 1000).abs().max() < 5 * 30


def test_flip_happens_half_the_time_and_crop_reaches_all_offsets():
    mirrored = [bool(make("flip").sample(8, generator(seed)).mirror) for seed in range(400)]
    assert 150 < sum(mirrored) < 250
    draw = make("crop", draw="sample").sample(5000, generator())
    for offsets in (draw.top, draw.left):
        assert set(offsets.tolist()) == set(range(-4, 5))
