"""SVHN's MATLAB files and CIFAR-10's batches."""

import numpy as np
import pytest
import torch
from fake_cifar import write_pickle
from scipy.io import savemat

from dataset import DataRequest, datasets
from helper.errors import UserError


def write_svhn(root, train=12, test=7):
    folder = root / "svhn"
    folder.mkdir(parents=True)
    content, draw = {}, np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        images = draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        digits = draw.integers(0, 10, count)
        digits[0] = 0
        entry = {
            "X": images.transpose(1, 2, 3, 0),
            "y": np.where(digits == 0, 10, digits)[:, None].astype(np.uint8),
        }
        savemat(folder / f"{split}_32x32.mat", entry, do_compression=True)
        content[split] = images, digits
    return content


def test_svhn_is_read_and_the_digit_0_is_class_0(tmp_path):
    content = write_svhn(tmp_path)
    for _ in range(2):  # decoded, then from the cache
        data = datasets["svhn"].load(DataRequest(root=tmp_path))
        for split in ("train", "test"):
            images, digits = content[split]
            got = getattr(data, split)
            assert np.array_equal(got.images.numpy(), images) and got.images.is_contiguous()
            assert got.labels.dtype == torch.int64 and got.labels.tolist() == digits.tolist()
    assert len(datasets["svhn"].load(DataRequest(root=tmp_path, limit_train=5)).train) == 5


@pytest.mark.parametrize(
    "changes, fragment",
    [
        ({"X": np.zeros((32, 32, 3, 4), np.float64)}, "images of float64"),
        ({"X": np.zeros((32, 32, 3, 3), np.uint8)}, "and 4 labels"),
        ({"y": np.array([[1], [2], [0], [3]])}, "a label lies outside 1..10"),
        ({"y": np.array([[1], [2], [11], [3]])}, "a label lies outside 1..10"),
        ({"y": None}, "no MATLAB file of SVHN: 'y'"),
    ],
)
def test_damaged_svhn_files(tmp_path, changes, fragment):
    write_svhn(tmp_path)
    entry = {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.ones((4, 1), np.uint8)} | changes
    savemat(tmp_path / "svhn" / "test_32x32.mat", {k: v for k, v in entry.items() if v is not None})
    with pytest.raises(UserError, match=rf"test_32x32.mat is damaged.*{fragment}"):
        datasets["svhn"].load(DataRequest(root=tmp_path))


@pytest.mark.parametrize("keep", [0, 100, 2000])
def test_truncated_svhn_files(tmp_path, keep):
    write_svhn(tmp_path)
    path = tmp_path / "svhn" / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"train_32x32.mat is damaged"):
        datasets["svhn"].load(DataRequest(root=tmp_path))


def test_an_absent_svhn_file(tmp_path):
    write_svhn(tmp_path)
    (tmp_path / "svhn" / "test_32x32.mat").unlink()
    with pytest.raises(UserError, match=r"cannot read .*test_32x32.mat: No such file"):
        datasets["svhn"].load(DataRequest(root=tmp_path))


def test_svhn_offline_names_both_files(tmp_path, monkeypatch):
    asked = []

    def no_network(url, path, hash_prefix):
        asked.append(url)
        assert len(hash_prefix) == 64
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(
        UserError, match=r"could not download .*svhn/ holds train_32x32.mat, test_32x32.mat"
    ):
        datasets["svhn"].load(DataRequest(root=tmp_path / "data"))
    assert asked == ["https://ufldl.stanford.edu/housenumbers/train_32x32.mat"]
    assert not list(tmp_path.iterdir())


def test_svhn_is_downloaded_once(tmp_path, monkeypatch):
    content = write_svhn(tmp_path / "elsewhere")

    def bring(url, path, hash_prefix):
        source = tmp_path / "elsewhere" / "svhn" / url.rpartition("/")[2]
        with open(path, "wb") as target:
            target.write(source.read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", bring)
    data = datasets["svhn"].load(DataRequest(root=tmp_path / "data"))
    assert np.array_equal(data.test.images.numpy(), content["test"][0])
    assert {path.name for path in (tmp_path / "data" / "svhn").iterdir()} == {
        "train_32x32.mat",
        "test_32x32.mat",
    }


def write_cifar10(root, per_file=4):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    draw, content = np.random.default_rng(0), {}
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        images = draw.integers(0, 256, (per_file, 32, 32, 3), dtype=np.uint8)
        labels = draw.integers(0, 10, per_file).tolist()
        data = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(per_file, 3072)
        write_pickle(folder / name, {b"data": data, b"labels": labels, b"batch_label": b"x"})
        content[name] = images, labels
    return content


def test_cifar10_joins_its_five_batches(tmp_path):
    content = write_cifar10(tmp_path)
    data = datasets["cifar10"].load(DataRequest(root=tmp_path))
    parts = [content[f"data_batch_{n}"] for n in range(1, 6)]
    assert np.array_equal(
        data.train.images.numpy(), np.concatenate([images for images, _ in parts])
    )
    assert data.train.labels.tolist() == [label for _, labels in parts for label in labels]
    assert np.array_equal(data.test.images.numpy(), content["test_batch"][0])
    assert len(datasets["cifar10"].load(DataRequest(root=tmp_path, limit_train=6)).train) == 6


def test_an_absent_cifar10_batch_is_named(tmp_path):
    write_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(UserError, match=r"cannot read .*data_batch_3: No such file"):
        datasets["cifar10"].load(DataRequest(root=tmp_path))
