"""Public data sets where people have them: sorted by scripts, as an archive, or named by their own
folder."""

import hashlib
import shutil
import tarfile

import pytest
import torch
from fake_cifar import write_cifar
from fake_images import picture, wnid, write_imagenet, write_tiny_imagenet

from dataset import DataRequest, datasets
from dataset import cifar100 as cifar100_module
from dataset.image_files import find_images, open_rgb
from dataset.imagenet_classes import rows_of_imagenet, wnids
from helper.errors import UserError
from helper.run.load import load_weights
from models import build_model


def load(name, root, **changes):
    return datasets[name].load(DataRequest(root=root, **changes))


@pytest.mark.parametrize("inner", ["", "images"])
def test_tiny_imagenet_whose_validation_images_were_sorted(tmp_path, inner):
    folder = write_tiny_imagenet(tmp_path, per_class=1, val=3)
    wanted = load("tinyimagenet", tmp_path).test
    shutil.rmtree(folder / "val")
    for label in range(200):
        place = folder / "val" / wnid(label) / inner
        place.mkdir(parents=True)
        (place / "a.JPEG").write_bytes(
            picture(10**6 + label // 7, mode="L" if label == 7 else "RGB")
        )
    found = load("tinyimagenet", tmp_path)
    assert found.test.labels.tolist() == list(range(200))
    for row in range(3):  # image n of the public layout has label 7 n
        assert torch.equal(found.test.images[7 * row], wanted.images[row])


def test_a_sorted_set_that_lacks_a_class_is_one_line(tmp_path):
    folder = write_tiny_imagenet(tmp_path, per_class=1, val=3)
    shutil.rmtree(folder / "val" / "images")
    (folder / "val" / wnid(3)).mkdir()
    with pytest.raises(UserError, match=r"cannot read .*val/n00001000"):
        load("tinyimagenet", tmp_path)


def test_data_root_may_be_the_data_sets_own_folder(tmp_path):
    write_cifar(tmp_path)
    wanted = load("cifar100", tmp_path)
    for place in (
        tmp_path / "cifar-100-python",
        (tmp_path / "cifar-100-python").rename(tmp_path / "x"),
    ):
        found = load("cifar100", place) if place.exists() else None
        assert found is None or found.fingerprint() == wanted.fingerprint()
    assert found is not None
    folder = write_imagenet(tmp_path, train=1)
    assert load("imagenet100", folder).fingerprint() == load("imagenet100", tmp_path).fingerprint()


@pytest.mark.parametrize(
    ("name", "mode"), [("cifar-100-python.tar.gz", "w:gz"), ("cifar-100-python.tar", "w")]
)
def test_an_archive_that_lies_there_is_unpacked(tmp_path, monkeypatch, capsys, name, mode):
    write_cifar(tmp_path / "source")
    archive = tmp_path / "root" / name
    archive.parent.mkdir()
    with tarfile.open(archive, mode) as container:
        container.add(tmp_path / "source" / "cifar-100-python", "cifar-100-python")
    with pytest.raises(UserError, match=rf"training run unpacks .*{name}"):
        load("cifar100", archive.parent, may_write=False)
    found = load("cifar100", archive.parent)
    assert found.fingerprint() == load("cifar100", tmp_path / "source").fingerprint()
    assert sorted(path.name for path in archive.parent.iterdir()) == ["cifar-100-python", name]
    assert f"{name} is not the public archive" in capsys.readouterr().out
    shutil.rmtree(archive.parent / "cifar-100-python")
    monkeypatch.setattr(cifar100_module, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    load("cifar100", archive.parent)
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"<html>404</html>", b"", "cut"])
def test_what_is_no_whole_archive_is_one_line(tmp_path, content):
    write_cifar(tmp_path / "source")
    archive = tmp_path / "root" / "cifar-100-python.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as container:
        container.add(tmp_path / "source" / "cifar-100-python", "cifar-100-python")
    archive.write_bytes(archive.read_bytes()[:-2000] if content == "cut" else content)
    with pytest.raises(UserError, match=r"tar.gz is damaged, or no such archive \("):
        load("cifar100", archive.parent)
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]


def test_tiff_images_are_images(tmp_path):
    from PIL import Image

    (tmp_path / "a").mkdir()
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "a" / "x.tif")
    files = find_images(tmp_path, ["a"])
    assert open_rgb(files.path(0)).getpixel((0, 0)) == (1, 2, 3)


# --- ImageNet-100 with a network for 1,000 classes ------------------------------------------------


def test_wnids_are_sorted_and_known():
    names = list(wnids())
    assert len(names) == 1000 and names == sorted(names) and names[0] == "n01440764"
    assert rows_of_imagenet(["n15075141", "n01440764"]) == [999, 0]
    assert rows_of_imagenet(["n01440764", "cat"]) == []


def test_the_spec_knows_its_wnids_and_the_teachers_rows_are_taken(tmp_path):
    chosen = sorted(list(wnids())[::10])
    for name in chosen:
        (tmp_path / "imagenet100" / "train" / name).mkdir(parents=True)
    spec = datasets["imagenet100"].spec(DataRequest(root=tmp_path))
    assert list(spec.class_ids) == chosen
    assert datasets["imagenet100"].spec(DataRequest(root=tmp_path / "none")).class_ids == ()
    generator = torch.Generator().manual_seed(0)
    whole = build_model("resnet8", num_classes=1000, img_size=32, generator=generator)
    part = build_model("resnet8", num_classes=100, img_size=32, generator=generator)
    notes = load_weights(part, "resnet8", whole.state_dict(), flag="--path_t", path="x",
                         class_ids=spec.class_ids)  # fmt: skip
    assert torch.equal(part.fc.weight, whole.fc.weight[::10])
    assert torch.equal(part.fc.bias, whole.fc.bias[::10]) and "100 of the 1000 classes" in notes[0]
    with pytest.raises(UserError, match="has 1000 classes, the data set has 100: give"):
        load_weights(part, "resnet8", whole.state_dict(), flag="--path_t", path="x")
    with pytest.raises(UserError, match="has 100, and cat is no class of ImageNet: give"):
        load_weights(part, "resnet8", whole.state_dict(), flag="--path_t", path="x",
                     class_ids=[*chosen[:99], "cat"])  # fmt: skip
