"""`--dataset folder`: layouts, order, sizes, mean and deviation, damaged images, and what is told
of bad folders."""

import io
import json

import numpy as np
import pytest
import torch
from command_line import load as load_checkpoint
from command_line import log_lines, new_run, run
from PIL import Image

from dataset import DataRequest, ImageFiles, datasets
from dataset.folder import MEMORY_LIMIT
from dataset.folder_facts import fitted
from helper.errors import UserError
from scripts.results.logs import data_set_of

SIZE = 16


def pixels(seed, size=(SIZE, SIZE)):
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path, seed=0, size=(SIZE, SIZE), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, size)).convert(mode).save(path)


def write_folder(root, per_class=3, classes=("ant", "bee"), splits=("train", "val"), **how):
    """Images whose seeds are split, class, number."""
    for s, split in enumerate(splits):
        for k, name in enumerate(classes):
            for n in range(per_class):
                write(root / split / name / f"{n}.png", 100 * s + 10 * k + n, **how)
    return root


def load(root, **changes):
    return datasets["folder"].load(
        DataRequest(root=root, cache_dir=root.parent / "cache", **changes)
    )


def test_class_folders_take_the_first_of_every_class_first(tmp_path):
    data = load(write_folder(tmp_path / "data"))
    assert data.spec.class_names == ("ant", "bee") and data.spec.img_size == SIZE
    assert data.train.labels.tolist() == [0, 1] * 3 and len(data.test) == 6
    expected = [pixels(seed) for seed in (0, 10, 1, 11, 2, 12)]
    assert np.array_equal(data.train.images, expected)
    scaled = np.stack(expected) / 255
    assert np.allclose(data.spec.mean, scaled.mean((0, 1, 2)), atol=1e-12)
    assert np.allclose(data.spec.std, scaled.std((0, 1, 2)), atol=1e-12)


def test_layouts_agree_bit_for_bit(tmp_path):
    """Folders, nested folders, a CSV beside the folders, a labels file within, and shards: the same
    images and labels."""
    folders = load(write_folder(tmp_path / "a" / "data"))
    root = tmp_path / "b" / "data"
    for split, base in (("train", 0), ("val", 100)):
        rows = []
        for n in range(3):
            for k, name in enumerate(("ant", "bee")):
                write(root / split / f"{k}{n}.png", base + 10 * k + n)
                rows.append(f"{k}{n}.png;{name}")
        place = root / "train.csv" if split == "train" else root / "val" / "labels.csv"
        place.write_text("File_Name;Label\n" + "\n".join(rows))
    tables = load(root)
    nested = tmp_path / "c" / "data"
    write_folder(nested)
    for split in ("train", "val"):
        for name in ("ant", "bee"):
            (nested / split / name / "2.png").rename(nested / split / name / "1.jpg.png")
            (nested / split / name / "1.png").rename(nested / split / name / "0a.png")
            (nested / split / name / "z" / "y").mkdir(parents=True)
            (nested / split / name / "1.jpg.png").rename(
                nested / split / name / "z" / "y" / "2.PNG"
            )
    for other in (tables, load(nested)):
        assert other.fingerprint() == folders.fingerprint() and other.spec == folders.spec


def test_shards_of_the_hub(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    import pyarrow

    folders = load(write_folder(tmp_path / "a" / "data", classes=("zebra", "ape")))
    root = tmp_path / "b" / "data"
    (root / "data").mkdir(parents=True)
    names = {"info": {"features": {"label": {"names": ["zebra", "ape"], "_type": "ClassLabel"}}}}
    for split, base in (("train", 0), ("validation", 100)):
        rows = []
        for n in range(3):
            for k in (1, 0):  # as class folders come: ape, zebra
                buffer = io.BytesIO()
                Image.fromarray(pixels(base + 10 * k + n)).save(buffer, "PNG")
                rows.append({"image": {"bytes": buffer.getvalue(), "path": None}, "label": k})
        table = pyarrow.Table.from_pylist(rows)
        table = table.replace_schema_metadata({"huggingface": json.dumps(names)})
        parquet.write_table(table, root / "data" / f"{split}-00000-of-00001.parquet")
    shards = load(root)
    assert shards.spec.class_names == ("zebra", "ape")  # the shards' order
    assert torch.equal(shards.train.images, folders.train.images)
    assert torch.equal(shards.train.labels, 1 - folders.train.labels)


def test_classes_txt_and_numbers_say_the_order(tmp_path):
    (root := tmp_path / "data").mkdir()
    for n, label in enumerate(("10", "9", "10", "9")):
        write(root / f"{n}.png", n)
        with open(root / "train.csv", "a") as file:
            file.write(("path,label\n" if n == 0 else "") + f"{n}.png,{label}\n")
    assert datasets["folder"].spec(DataRequest(root=root)).class_names == ("9", "10")
    (root / "classes.txt").write_text("10\n9\n11\n")
    assert load(root).spec.class_names == ("10", "9", "11")


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_every_kind_of_image_at_any_size(tmp_path, mode):
    root = write_folder(tmp_path / "data", size=(40, 24))
    suffix = "tif" if mode == "CMYK" else "png"
    write(root / "train" / "ant" / f"9.{suffix}", 5, (7, 90), mode)
    data = load(root, img_size=12)
    assert data.train.images.shape == (7, 12, 12, 3)
    wide = Image.fromarray(pixels(0, (40, 24)))
    middle = wide.crop((8, 0, 32, 24)).resize((12, 12), Image.Resampling.BILINEAR)
    assert np.array_equal(fitted(wide, 12), middle)
    assert np.array_equal(data.train.images[0], middle)


def test_damaged_images_are_left_out_and_counted(tmp_path):
    root = write_folder(tmp_path / "data", per_class=8)
    content = (root / "train/bee/3.png").read_bytes()
    (root / "train/bee/3.png").write_bytes(content[: len(content) // 2])
    data = load(root)
    assert len(data.train) == 15 and data.train.labels.tolist().count(1) == 7
    assert any(
        "1 images that cannot be read are left out" in n and "bee/3.png" in n for n in data.notes
    )
    assert load(root).fingerprint() == data.fingerprint()  # from the cache


def test_large_sets_are_streamed(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "data")
    monkeypatch.setattr("dataset.folder.MEMORY_LIMIT", 12 * SIZE * SIZE * 3 - 1)
    assert MEMORY_LIMIT == 2 * 2**30
    streamed = load(root)
    assert isinstance(streamed.train, ImageFiles) and any("streamed" in n for n in streamed.notes)
    assert not isinstance(load(root, images="memory").train, ImageFiles)


def test_nothing_is_written_in_a_dry_run(tmp_path):
    data = load(write_folder(tmp_path / "data"), may_write=False)
    assert data.train.images.shape == (6, SIZE, SIZE, 3) and not (tmp_path / "cache").exists()


def empty(root):
    root.mkdir()


def text(name, content):
    def make(root):
        path = write_folder(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    return make


def without(name):
    def make(root):
        for path in (write_folder(root) / name).glob("*"):
            path.unlink()

    return make


def damage(root):
    for path in (write_folder(root) / "train" / "ant").glob("*"):
        path.write_bytes(b"GIF89a")


def one_colour(root):
    for k in "ab":
        (root / "train" / k).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / "train" / k / "0.png")


BAD = {
    "absent": (lambda root: None, "is no folder"),
    "a file": (lambda root: root.write_text(""), "is no folder"),
    "empty": (empty, "holds no training images.*it is empty"),
    "capital": (lambda r: write_folder(r, splits=("Train",)), "there is Train/"),
    "val alone": (lambda r: write_folder(r, splits=("val",)), "holds no training images"),
    "one class": (lambda r: write_folder(r, classes=("ant",)), "one class alone, 'ant'"),
    "empty class": (without("train/bee"), "train/bee/ holds no image"),
    "empty test class": (without("val/bee"), "val/bee/ holds no image"),
    "flat": (lambda r: write(r / "train" / "0.png"), "no class folders"),
    "new class": (lambda r: write(write_folder(r) / "val/cow/0.png"), "val/ has the class 'cow'"),
    "sizes": (
        lambda r: write(write_folder(r) / "train/ant/x.png", 0, (9, 9)),
        "--img_size is needed",
    ),
    "oblong": (lambda r: write_folder(r, size=(9, 8)), "--img_size is needed.*9x8"),
    "tiny": (lambda r: write_folder(r, size=(4, 4)), "--img_size must be 8..2048, got 4"),
    "damaged": (damage, r"3 of 6 training images cannot be read.*ant/0.png"),
    "one colour": (one_colour, "have one colour"),
    "no header": (text("train.csv", "ant/0.png,ant\n"), "must name the columns"),
    "no label column": (
        text("train.csv", "path,size\ntrain/ant/0.png,3\n"),
        "must name the columns",
    ),
    "empty table": (text("train.csv", ""), "train.csv is empty"),
    "no rows": (text("train.csv", "path,label\n"), "lists no image"),
    "no label": (text("train.csv", "path,label\nant/0.png,\n"), "line 2 has no label"),
    "short row": (text("train.csv", "path,label\nant/0.png\n"), "line 2 has no label"),
    "no path": (text("train.csv", "path,label\n,ant\n"), "line 2 has no path"),
    "absent image": (text("train.csv", "path,label\nx.png,a\n"), "line 2: x.png does not exist"),
    "image is a folder": (text("val.csv", "path,label\nant,ant\n"), "line 2: ant does not exist"),
    "bytes": (
        lambda r: (write_folder(r) / "train.csv").write_bytes(b"path,label\n\xff\xfe,a"),
        "cannot read",
    ),
    "zero byte": (text("train.csv", "path,label\nant/0.png\0,ant\n"), "line 2|line contains NUL"),
    "class twice": (text("classes.txt", "ant\nbee\nant\n"), "names a class twice"),
    "class missing": (
        text("classes.txt", "ant\ncat\n"),
        "has the class 'bee', which .*does not name",
    ),
    "other test label": (text("val.csv", "path,label\nant/0.png,7\n"), "val.csv has the class '7'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_folder_is_one_line(tmp_path, name):
    make, expected = BAD[name]
    make(tmp_path / "data")
    with pytest.raises(UserError, match=expected) as caught:
        load(tmp_path / "data")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, expected",
    [(b"PAR1 rubbish PAR1", "damaged or no parquet file"), (b"", "damaged or no parquet file")],
)
def test_a_bad_shard_is_one_line(tmp_path, content, expected):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    (root := tmp_path / "data").mkdir()
    (root / "train-00000-of-00001.parquet").write_bytes(content)
    with pytest.raises(UserError, match=expected):
        load(root)
    assert [path.suffix for path in (tmp_path / "cache").glob("*")] == [".lock"]


SMALL = "--dataset folder --epochs 1 --batch_size 4 --device cpu --num_workers 0 --seed 1"


def test_class_names_go_with_the_networks(tmp_path, monkeypatch, capsys):
    """Own folder -> teacher -> student, held out where there is no test set; another folder's
    classes are refused."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data", per_class=5, splits=("train",))
    run("train_teacher.py", f"{SMALL} --data_root data --model resnet8 --dev_split 0.2")
    teacher = "save/models/resnet8_vanilla/ckpt_epoch_1.pth"
    assert load_checkpoint(teacher)["class_names"] == ["ant", "bee"]
    student = f"{SMALL} --path_t {teacher} --model_s resnet8 --data_root"
    folder = new_run("train_student.py", f"{student} data --dev_split 0.2 --project_name s")
    assert any("8 training and 2 held-out" in line for line in log_lines(folder))
    assert load_checkpoint(folder / "weights" / "ckpt.pth")["class_names"] == ["ant", "bee"]
    write_folder(tmp_path / "other", classes=("ant", "cat"))
    for words, expected in (
        (f"{student} other", "class 1 is 'bee' there and 'cat' here"),
        (f"{student} data", "holds no val/ or test/"),
        (f"{student} other --img_size 3", "img_size"),
        (f"--path_t {teacher} --mean 0.5,0.5,0.5", "--mean is for --dataset folder"),
        (f"--path_t {teacher} --images stream", "--images stream is for --dataset folder"),
        (f"--path_t {teacher} --img_size 64", "images of cifar100 have 32x32"),
        (f"--path_t {teacher} --num_classes 9", "cifar100 has 100 classes"),
        (f"{student} data --mean 1,2", "expected three numbers"),
        (f"{student} data --std 0,1,1", "--std must be above 0"),
    ):
        before = set((tmp_path / "Experiments").iterdir())
        with pytest.raises(SystemExit) as caught:
            run("train_student.py", words)
        message = capsys.readouterr().err
        assert caught.value.code == 2 and expected in message and message.count("\n") == 1
        assert set((tmp_path / "Experiments").iterdir()) == before


def test_results_of_two_folders_are_never_averaged():
    pets, cars = (
        {"dataset": "folder", "data_root": f"images/{name}/"} for name in ("pets", "cars")
    )
    assert data_set_of(pets) == "folder pets" and data_set_of(cars) == "folder cars"
    assert data_set_of({"dataset": "tinyimagenet", "data_root": "data"}) == "tinyimagenet"
