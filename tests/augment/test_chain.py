"""The grammar of --mix_mode: what is written, what it means, and the one line for what is
neither."""

import dataclasses
import random
import string

import numpy as np
import pytest
import torch
from random_images import CIFAR, generator

from augment import MixSettings, Stage, build, mix_modes, parse, picks, spell_chain, with_flags
from augment.chain import Chain, Sometimes
from augment.keys import Key, key, spell
from augment.pick import Pool
from helper.cli.options import parse_student
from helper.errors import UserError
from helper.setup.views import make_augmentation, make_pick

LIBRARY = ("tv.ElasticTransform:alpha=20.5", "tv.RandomErasing:p=0.7,scale=0.1..0.2")


def images_of(count, side, seed=0):
    values = np.random.RandomState(seed).standard_normal((count, 3, side, side))
    return torch.from_numpy(values.astype(np.float32))


def random_value(one: Key, rng):
    if one.choices:
        return rng.choice(sorted(one.choices))
    if one.kind is int:
        return rng.randint(int(one.low), int(min(one.high, one.low + 6)))
    return round(rng.uniform(one.low, min(one.high, one.low + 2)), 3)


def random_stage(name, rng):
    """The name with some of its keys, without those that leave no valid range."""
    keys = {k: one for k, one in mix_modes[name].keys().items() if not k.endswith(("_min", "size"))}
    chosen = rng.sample(sorted(keys), rng.randint(0, min(3, len(keys))))
    values = {k: random_value(keys[k], rng) for k in chosen}
    values |= {
        k: max(v, mix_modes[name].keys()[f"{k[:-4]}_min"].default)
        for k, v in values.items()
        if k.endswith("_max")
    }
    if "grid" in values:
        values["grid"] = rng.choice([2, 4])
    return name + (":" + ",".join(f"{k}={spell(v)}" for k, v in values.items()) if values else "")


def random_chain(seed):
    """Up to three stages that mix nothing, then perhaps one that does, then perhaps a pick."""
    rng = random.Random(seed)
    single = [n for n in mix_modes if not mix_modes[n].mixes and not picks(n) and n != "crop+flip"]
    stages = [random_stage(rng.choice(single), rng) for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.2:
        stages.append(rng.choice(LIBRARY))
    if rng.random() < 0.6 or not stages:
        stages.append(random_stage(rng.choice([n for n in mix_modes if mix_modes[n].mixes]), rng))
    if rng.random() < 0.3 and not picks(stages[-1].partition(":")[0]):
        stages.append(random_stage("pick", rng))
    return "+".join(stages)


def without_defaults(stage):
    keys = stage.kind.keys()
    return Stage(stage.name, {k: v for k, v in stage.values.items() if v != keys[k].default})


@pytest.mark.parametrize("seed", range(40))
def test_random_chains(seed):
    """Every chain is spelled one way, repeats, declares its sources, and goes with any batch and
    size."""
    text = random_chain(seed)
    stages = parse(text)
    canonical = spell_chain(stages)
    assert parse(canonical) == tuple(without_defaults(stage) for stage in stages)
    assert spell_chain(parse(canonical)) == canonical
    assert set(canonical) <= set(string.ascii_letters + string.digits + ":=,+._-")
    for count, side in ((3, 32), (1, 32), (4, 64)) + (((2, 224),) if seed % 8 == 0 else ()):
        spec = dataclasses.replace(CIFAR, img_size=side)
        images = images_of(count, side)
        before = images.clone()
        augment = build(text, spec, MixSettings())
        augment.start_epoch(1)
        view, again = (
            augment(images, generator(seed)),
            build(canonical, spec, MixSettings())(images, generator(seed)),
        )
        assert torch.equal(view.images, again.images) and torch.equal(images, before), text
        assert torch.isfinite(view.images).all() and view.images.shape[1:] == images.shape[1:]
        labels = torch.eye(count)
        mixed = view.mix(labels)
        assert mixed.shape == (len(view.images), count) and (mixed >= 0).all()
        torch.testing.assert_close(mixed.sum(1), torch.ones(len(mixed)))
        assert (view.partner is None) == (not any(s.kind.mixes for s in parse(text)))
        assert len(view.images) == count * (
            parse(text)[-1].values.get("n_run", 2) if picks(text) else 1
        )


def test_old_names_are_chains_of_the_same_draws_and_pixels():
    images = images_of(5, 32)
    for draw in ("batch", "sample"):
        for seed in range(8):
            old = mix_modes["crop+flip"](CIFAR, MixSettings(draw=draw))(images, generator(seed))
            new = build("crop:p=1+flip:p=0.5", CIFAR, MixSettings(draw=draw))
            assert isinstance(new, Chain)
            assert torch.equal(old.images, new(images, generator(seed)).images)
    for old, new in (("cutmix_pick", "cutmix+pick"), ("mixup_pick", "mixup+pick")):
        views = [build(each, CIFAR, MixSettings())(images, generator(3)) for each in (old, new)]
        assert torch.equal(views[0].images, views[1].images)
        assert torch.equal(views[0].lam, views[1].lam)


def test_stages_work_from_left_to_right():
    images = images_of(4, 32)
    view = build("invert+grey:p=0+cutout:size=32,holes=64+noise:sigma=0.1", CIFAR, MixSettings())
    assert view(images, generator()).images.std() == pytest.approx(0.1, rel=0.2)
    mixed = build("invert+mixup", CIFAR, MixSettings())(images, generator())
    plain = build("invert", CIFAR, MixSettings())(images, generator()).images
    lam = mixed.lam[:, None, None, None]
    assert torch.allclose(mixed.images, lam * plain + (1 - lam) * plain[mixed.partner], atol=1e-6)


@pytest.mark.parametrize("draw", ["batch", "sample"])
@pytest.mark.parametrize("name", ["invert", "mixup", "ricap", "other", "mixup_pick"])
def test_p_says_how_often(name, draw):
    images = torch.arange(1.0, 9)[:, None, None, None].expand(-1, 3, 32, 32)
    augment = build(f"{name}:draw={draw},p=0.25", CIFAR, MixSettings())
    assert isinstance(augment, Sometimes)
    happened = []
    for seed in range(120):
        view = augment(images, generator(seed))
        same = (view.images == view.own(images)).flatten(1).all(1)
        if view.lam is not None:
            assert (view.lam[~same] < 1).all()
            values = images[:, :1, 0, 0]
            torch.testing.assert_close(
                view.images.mean(dim=(1, 2, 3)), view.mix(values)[:, 0], rtol=1e-4, atol=1e-4
            )
        happened.append(~same)
        if draw == "batch" and name in ("invert", "other"):
            assert same.all() or not same.any()
    limit = 0.12 if draw == "batch" else 0.05
    rare = (
        0.04 if name in ("mixup", "ricap", "mixup_pick") else 0
    )  # an image may be its own partner
    assert abs(torch.cat(happened).float().mean() - 0.25) < limit + rare


def test_flags_and_keys_say_the_same():
    flags = {"bbox": "square_rand_bbox", "mix_n_run": 4, "n_pick": None, "alpha": 3}
    (stage,) = with_flags(parse("cutmix_pick:alpha=0.5"), flags)
    assert stage.values == {"alpha": 0.5, "box": "square_rand_bbox", "n_run": 4}
    assert with_flags(parse("cutmix_pick:n_run=4"), flags)[0].values["n_run"] == 4
    with pytest.raises(UserError, match="--mix_n_run 4 contradicts n_run=3 of cutmix_pick"):
        with_flags(parse("cutmix_pick:n_run=3"), flags)
    with pytest.raises(
        UserError, match="--mix_n_run 1: cutmix_pick needs a whole number from 2 to 64"
    ):
        with_flags(parse("cutmix_pick"), {"mix_n_run": 1})


@pytest.mark.parametrize(
    ("flags", "keys"),
    [
        ("cutmix --bbox square_rand_bbox", "cutmix:box=square_rand_bbox"),
        (
            "cutmix_pick --mix_n_run 3 --n_pick 5 --cutmix_pick_criterion student_entropy",
            "cutmix_pick:criterion=student_entropy,n_pick=5,n_run=3",
        ),
        ("mixup_pick:alpha=0.5 --mix_n_run 4", "mixup_pick:alpha=0.5,n_run=4"),
        ("autoaugment+cutmix+pick --n_pick 2", "autoaugment+cutmix+pick:n_pick=2"),
    ],
)
def test_flags_are_keys_in_the_command_line_too(flags, keys, tmp_path):
    words = ["--dataset", "synthetic", "--path_t", str(tmp_path), "--model_s", "resnet8"]
    words += ["--model_t", "resnet8", "--lw_mix", "[1,0,1]", "--mix_mode"]
    old, new = (parse_student([*words, *text.split()]) for text in (flags, keys))
    for name in ("bbox", "mix_n_run", "n_pick", "cutmix_pick_criterion"):
        assert getattr(old, name) == getattr(new, name), name
    views = []
    for options in (old, new):
        stage = make_augmentation(options, CIFAR)
        stage.start_epoch(1)
        views.append(stage(images_of(6, 32), generator(3)))
    assert torch.equal(views[0].images, views[1].images) and make_pick(old) == make_pick(new)


def test_canonical_spelling():
    for text, wanted in {
        "cutout": "cutout",
        "cutout:size=08,holes=1": "cutout:size=8",
        "mixup:draw=sample,alpha=1.0": "mixup:draw=sample",
        "mixup:alpha=.50": "mixup:alpha=0.5",
        "noise:sigma=1e-3,p=1": "noise:sigma=0.001",
        "crop+flip": "crop+flip",
        "crop:padding=4+flip:p=.5": "crop:padding=4+flip",
        "tv.ElasticTransform:sigma=5,alpha=20": "tv.ElasticTransform:alpha=20",
        "tv.RandomErasing:scale=0.02..0.330": "tv.RandomErasing",
        "autoaugment+cutmix+pick:n_run=2": "autoaugment+cutmix+pick",
    }.items():
        assert spell_chain(parse(text)) == wanted
    assert not set(wanted) & set(" \"'$;&|<>()[]{}*?!#~`\\/")


BAD = (
    "", "+", "cutmix+", "+cutmix", "cutout++mixup", ":", "cutout:", "cutout:size", "cutout:size=",
    "cutout:=8", "cutout:size=8,", "cutout:,size=8", "cutout:size=8:holes=2", "cutout;size=8",
    "cutout size=8", "cutout:size:8", "cutout:size=8,size=9", "Cutout:size=8 ", "cutmix+mixup",
    "mixup+cutout", "other+flip", "cutmix_pick+flip", "cutmix+pick+pick", "mean+ricap",
    "cutout:size=0", "cutout:size=-8", "cutout:size=8.5", "cutout:size=eight", "cutout:size=1e9",
    "cutout:size=nan", "noise:sigma=inf", "noise:sigma=-0.1", "noise:sigma=nan", "mixup:alpha=0",
    "mixup:p=1.1", "mixup:p=-1", "mixup:draw=image", "autoaugment:policy=mnist", "cutmix:box=big",
    "crop+flip:p=1e5", "cutmix_pick:n_run=1", "cutmix_pick:criterion=entropy", "channels:order=rgb",
    "erasing:scale_min=0.5,scale_max=0.1", "resizedcrop:ratio_min=2,ratio_max=1", "blur:size=4",
    "blur:size=33", "blur:sigma_min=3,sigma_max=1", "patches:grid=3", "patches:grid=5",
    "gridmask:period_min=1,period_max=0.5", "resizemix:tau_min=0.9", "mean:k=1", "tv.",
    "tv.Nothing", "tv.JPEG", "tv.ElasticTransform:alpha=a", "tv.RandomErasing:scale=2..3",
    "tv.Compose", "tv.ToPILImage", "tv.FiveCrop:size=8", "tv.ElasticTransform:interpolation=cubic",
    "\x00", "cutout:size=\u0668", "cutмix",
)  # fmt: skip


def malformed(seed):
    """A random chain with one change that makes it wrong."""
    rng, text = random.Random(seed), random_chain(seed)
    name = text.split("+")[0].split(":")[0]
    letters = "".join(rng.choices(string.ascii_lowercase, k=6))
    return rng.choice([
        f"{text}+", f"{text}+{letters}", f"{letters}:p=1+{text}",
        f"{text}:{letters}=1" if ":" not in text else f"{text},{letters}=1", f"{name}:{letters}=1",
        f"{name}:p={letters}", f"{name}:p=7", f"{name}:draw={letters}", f"{name}:p",
        text.replace(name, name + "x", 1), f"cutmix+{text}", f"{name}:p=0.5,p=0.5",
        f"{name}:draw=batch;p=1", f" {text}",
    ])  # fmt: skip


@pytest.mark.parametrize("text", [*BAD, *(malformed(seed) for seed in range(200))])
def test_malformed_chains_are_one_line(text):
    with pytest.raises(UserError) as error:
        build(text, CIFAR, MixSettings())
    message = str(error.value)
    assert 10 < len(message) < 4000 and "\n" not in message and "Error" not in message


def test_errors_name_the_stage_the_key_the_range_and_the_nearest_name():
    for text, beginning in {
        "autoaugment+cutot:size=8": (
            "unknown mix mode 'cutot'. Did you mean 'cutout'? Choices: augmix,"
        ),
        "cutout:siz=8": (
            "unknown key of cutout 'siz'. Did you mean 'size'? Choices: draw, holes, p, size"
        ),
        "mixup:alpha=0": "mixup: alpha='0' is not a number from 0.01 to 100",
        "cutout:size=2.5": "cutout: size='2.5' is not a whole number from 1 to 224",
        "cutmix:box=big": (
            "cutmix: box='big' is not one of rand_bbox, square_rand_bbox, simpler_rand_bbox"
        ),
        "mixup+flip": "mixup mixes images, so flip cannot follow it",
        "erasing:scale_min=0.5": "erasing:scale_min=0.5: scale_min=0.5 is above scale_max=0.33",
    }.items():
        with pytest.raises(UserError) as error:
            build(text, CIFAR, MixSettings())
        assert str(error.value).startswith(beginning)


def test_every_registered_stage_says_what_it_does_and_what_its_keys_mean():
    for name in mix_modes:
        assert mix_modes[name].__doc__, name
        for one in mix_modes[name].keys().values():
            assert one.help and (one.choices or one.low < one.high), (name, one)
            assert one.default is None or one.read(spell(one.default)) == one.default


def test_keys_of_a_plugin():
    @mix_modes.register("dim")
    class Dim(mix_modes["grey"]):
        """Darker."""

        by = key(0.5, 0, 1, "how much")
        kind = key("all", choices=("all", "some"), help="which")

    try:
        dim = build("dim:by=0.75,kind=some", CIFAR, MixSettings(draw="sample"))
        assert (dim.by, dim.kind, dim.p, dim.draw) == (0.75, "some", 1, "sample")
        assert Dim(CIFAR, MixSettings()).by == 0.5
        assert str(Stage("dim", {"by": 0.75, "kind": "all"})) == "dim:by=0.75"
        assert not issubclass(Dim, Pool)
    finally:
        del mix_modes._entries["dim"]
