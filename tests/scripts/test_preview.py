"""scripts/preview_augmentations.py: its pictures show what training sees, and what Pick keeps."""

import importlib.util

import numpy as np
import pytest
import torch
from places import ROOT
from command_line import run
from PIL import Image
from watching import Watching

from helper.loop import measuring
from augment import Pick, PoolLogits, pick_criteria
from helper.errors import one_line_errors
from helper.run.checkpoint import describe_model, save_checkpoint
from helper.step.passes import logits_of
from models import build_model
from scripts.results import image_rows

SCRIPT = ROOT / "scripts" / "preview_augmentations.py"
loaded = importlib.util.spec_from_file_location("preview_augmentations", SCRIPT)
preview = importlib.util.module_from_spec(loaded)
loaded.loader.exec_module(preview)

DATA = "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 40 --device cpu"
TINY = f"{DATA} --num_images 3"
CRITERIA = list(pick_criteria)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """The flags that name a teacher and a student."""
    folder, flags = tmp_path_factory.mktemp("networks"), []
    for seed, (flag, name) in enumerate((("--path_t", "resnet14"), ("--path_s", "resnet8"))):
        model = build_model(
            name, num_classes=5, img_size=16, generator=torch.Generator().manual_seed(seed)
        )
        path = folder / f"{name}.pth"
        save_checkpoint(
            path, {"model": model.state_dict()} | describe_model(name, 5, 16, "synthetic")
        )
        flags.append(f"{flag} {path}")
    return flags


def call(*words):
    with one_line_errors(preview.PROGRAM):
        preview.main(" ".join(map(str, words)).split())


def scene_of(*words):
    return preview.set_scene(preview.parse(" ".join(map(str, words)).split()))


def fails(capsys, *words):
    """The one line of an error."""
    with pytest.raises(SystemExit) as status:
        call(*words)
    error = capsys.readouterr().err
    assert status.value.code == 2 and error.count("\n") == 1 and error.startswith(preview.PROGRAM)
    return error


def test_both_pictures_with_every_suffix(networks, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(preview, "WITHOUT_PICK", ["cutmix"])  # drawing takes time
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    for suffix, start in starts.items():
        pictures = [tmp_path / "new" / f"{name}{suffix}" for name in ("schemes", "pick")]
        call(
            TINY,
            *networks,
            "--num_images 2 -o",
            pictures[0],
            "--pick_output",
            pictures[1],
            "--criterion kld",
        )
        assert all(path.read_bytes().startswith(start) for path in pictures)
    assert "left out" not in capsys.readouterr().out


def test_same_seed_same_picture_and_the_cells_are_the_views_to_the_pixel(tmp_path, capsys):
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        call(TINY, "--seed 3 -o", path)
    first, again = (np.asarray(Image.open(path).convert("RGB")) for path in paths)
    assert np.array_equal(first, again)
    assert (
        capsys.readouterr().out.count(
            "left out: cutmix_pick by teacher_entropy, which needs --path_t"
        )
        == 2
    )

    rows = preview.scheme_rows(scene_of(TINY, "--seed 3"), {})
    labels = [row.label.split("\n")[0] for row in rows[1:]]
    assert labels == "identity flip crop+flip cutout autoaugment mixup cutmix".split()
    cell, tops, _ = image_rows.layout(rows)
    for row, top in zip(rows, tops):
        for column, image in enumerate(row.images):
            left = image_rows.left_of(column, cell)
            shown = first[top : top + cell, left : left + cell]
            assert np.array_equal(shown, image.repeat(cell // 16, 0).repeat(cell // 16, 1)), (
                row.label
            )
    assert np.array_equal(rows[0].images, rows[1].images)  # identity is the batch
    other = scene_of(TINY, "--seed 4")
    assert not np.array_equal(rows[0].images, other.pixels(other.images))


def test_labels_break_where_they_fit():
    assert preview.label_of("tv.ElasticTransform:alpha=80").split("\n") == [
        "tv.ElasticTransform:",
        "alpha=80",
    ]
    chain = "autoaugment:draw=sample+pick:criterion=teacher_entropy,n_run=3"
    lines = preview.label_of(chain).split("\n")
    assert "".join(lines) == chain and max(map(len, lines)) <= preview.LABEL_WIDTH
    assert lines[:2] == ["autoaugment:", "draw=sample"]


@pytest.mark.parametrize("draw", ["batch", "sample"])
def test_rows_are_the_views_of_a_training_pass(draw, networks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    watching = Watching(lambda *views: seen.append(views))
    monkeypatch.setattr(measuring, "ViewPictures", lambda *_: watching)
    flags = f"{DATA} --limit_train 12 --num_images 6 --seed 5 --mix_draw {draw}"
    scene = scene_of(flags, *networks)
    rows = preview.scheme_rows(
        scene, {name: preview.make_pool(scene, name) for name in preview.ENTROPIES}
    )
    modes = [
        *preview.WITHOUT_PICK,
        *(f"cutmix_pick --cutmix_pick_criterion {name}" for name in preview.ENTROPIES),
    ]
    assert len(modes) == len(rows) - 1 == 9
    for mode, row in list(zip(modes, rows[1:]))[6 if draw == "sample" else 0 :]:
        seen.clear()
        run("train_student.py", flags.replace("num_images", "batch_size"), networks[0],
            networks[1].replace("path_s", "finetune_student"),
            "--limit_test 10 --epochs 1 --mix_n_run 2",
            "--lw_mix 1,0,1 --fix_student --utils.ON --utils.check_ce_var --mix_mode",
            mode)  # fmt: skip
        images, views = seen[0]
        assert np.array_equal(scene.pixels(images), rows[0].images)
        view = views.view
        if view.source is not None:
            view = view.take(view.source.argsort(stable=True))
        assert np.array_equal(scene.pixels(view.images), row.images), mode


@pytest.mark.parametrize("name", CRITERIA)
def test_kept_and_dropped_are_the_pool_and_what_pick_says(name, networks):
    scene = scene_of(DATA, *networks, "--num_images 4 --mix_n_run 3")
    pool = preview.make_pool(scene, name)
    rows = preview.pick_rows(scene, name, pool)
    assert [row.kept for row in rows] == [True, False, False]

    with torch.no_grad():
        logits = PoolLogits(
            *(logits_of(network, pool.view.images) for network in (scene.teacher, scene.student)),
            logits_of(scene.teacher, scene.images),
        )
    assert bool((pool.scores.diff() >= -1e-6).all()) and len(pool.scores) == 12
    keep = Pick(pick_criteria[name], 4, 4.0)(logits)
    kept, every = scene.pixels(pool.view.images[keep]), scene.pixels(pool.view.images)
    assert content(rows[0].images) == content(kept)
    assert content(np.concatenate([row.images for row in rows])) == content(every)
    shown = [float(text.split()[-1]) for row in rows for text in row.texts]
    assert shown == pytest.approx(pool.entropies.tolist()[::-1], abs=6e-4)
    if name in preview.ENTROPIES:
        assert shown == sorted(shown, reverse=True) and torch.equal(pool.scores, pool.entropies)


def test_any_scheme_has_a_row(networks, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(preview, "draw", lambda rows, *_: drawn.append(rows))
    schemes = ["cutout:size=04", "patches+mean:k=2", "mixup+pick:criterion=teacher_entropy"]
    call(TINY, networks[0], *schemes)
    rows = drawn[0][1:]
    assert [row.label.split("\n")[0] for row in rows] == [
        "cutout:size=4",
        "patches",
        "mixup",
    ]
    assert all(len(row.images) == 3 for row in rows) and rows[2].texts[0].startswith("of image")
    scene = scene_of(TINY, networks[0])
    view = preview.look(scene, "--mix_mode=cutout:size=4").view
    assert np.array_equal(rows[0].images, scene.pixels(view.images))
    stages = preview.every_stage(scene)
    assert {"invert", "blur:p=1", "ricap"} < set(stages) and "mixup_pick" not in stages
    assert "that is not given: --path_t, --path_s" in fails(capsys, TINY, "cutmix_pick")
    assert "that is not given: --path_s" in fails(capsys, TINY, networks[0], "cutmix_pick")
    assert "Did you mean 'cutout'" in fails(capsys, TINY, "cutot")


def content(images):
    return sorted(image.tobytes() for image in images)


def test_a_student_alone_picks_too(networks, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(preview, "draw", lambda rows, *_: drawn.append([row.label for row in rows]))
    call(TINY, networks[1], "--pick_output b.png")
    assert drawn[0][-1] == "cutmix_pick\nby student_entropy" and len(drawn[0]) == 9
    assert drawn[1] == ["student_entropy\nkept", "student_entropy\ndropped"]
    out = capsys.readouterr().out
    assert "by teacher_entropy, which needs" in out and "student_entropy" not in out
    scene = scene_of(TINY, networks[1])
    both = scene_of(TINY, *networks)
    alone, pool = (preview.make_pool(s, "student_entropy") for s in (scene, both))
    assert torch.equal(alone.view.images, pool.view.images) and torch.equal(
        alone.scores, pool.scores
    )


def test_what_a_user_gets_wrong_is_one_line(networks, tmp_path, capsys):
    out = f"{TINY} -o {tmp_path}/a.png"
    pick = f"--pick_output {tmp_path}/b.png"
    (tmp_path / "file").write_text("")
    cases = {
        "--path_t": [f"{out} --path_t {tmp_path}/none.pth", f"{out} {pick}"],
        "--path_s": [f"{out} --path_s {tmp_path}/none.pth", f"{out} --path_s {tmp_path}/file"],
        "needs --path_s": [f"{out} {pick} {networks[0]} --criterion teacher_entropy+kld"],
        ".png, .svg, .pdf": [f"{TINY} -o {tmp_path}/a.jpg", f"{TINY} -o {tmp_path}/a"],
        "cannot write": [f"{TINY} -o {tmp_path}/file/a.png"],
        "same file": [f"{out} --pick_output {tmp_path}/a.png"],
        "only 2": [f"{out} --limit_train 2"],
        "is absent": [f"-o {tmp_path}/a.png --data_root {tmp_path}/data"],
        "--criterion": [f"{out} --criterion entropy"],
        "--num_images": [f"{out} --num_imags 4", f"{out} --num_images 1"],
    }
    for message, commands in cases.items():
        for command in commands:
            assert message in fails(capsys, command), command
    assert not list(tmp_path.glob("*.png")) and not (tmp_path / "data").exists()
