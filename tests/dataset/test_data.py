"""CIFAR-100's files, the unpickler that executes nothing, and the batches with their default DA."""

import io
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_cifar import NEW_NAME, OLD_NAME, make_entry, write_cifar, write_pickle
from hostile import Calls

from dataset import DataRequest, cifar100, datasets
from dataset.cifar100 import read_batch
from dataset.restricted_pickle import load_arrays
from helper.errors import UserError

REAL = os.environ.get("DATA_AUG_KD_CIFAR100")
SPEC = datasets["cifar100"].spec(DataRequest())


# --- The public files -----------------------------------------------------------------------------


def test_cifar100_is_read_back(tmp_path):
    content = write_cifar(tmp_path, train=40, test=20)
    data = datasets["cifar100"].load(DataRequest(root=tmp_path))
    for split, (images, labels) in (("train", content["train"]), ("test", content["test"])):
        got = getattr(data, split)
        assert got.images.dtype == torch.uint8 and got.images.is_contiguous()
        assert np.array_equal(got.images.numpy(), images)
        assert got.labels.dtype == torch.int64 and got.labels.tolist() == labels
    assert data.spec == SPEC


def test_limits_keep_the_first_examples(tmp_path):
    content = write_cifar(tmp_path, train=40, test=20)
    data = datasets["cifar100"].load(DataRequest(root=tmp_path, limit_train=7, limit_test=3))
    assert np.array_equal(data.train.images.numpy(), content["train"][0][:7])
    assert data.train.labels.tolist() == content["train"][1][:7]
    assert data.test.labels.tolist() == content["test"][1][:3]
    assert len(datasets["cifar100"].load(DataRequest(root=tmp_path, limit_train=999)).train) == 40


@pytest.mark.parametrize("module", [OLD_NAME, NEW_NAME])
def test_both_of_numpys_module_names_are_read(tmp_path, module):
    entry, images, labels = make_entry(5)
    write_pickle(tmp_path / "train", entry, module)
    assert module in (tmp_path / "train").read_bytes()
    split = read_batch(tmp_path / "train", "fine_labels", 100)
    assert np.array_equal(split.images.numpy(), images) and split.labels.tolist() == labels


@pytest.mark.parametrize("protocol", range(5))
def test_python_3_pickles_are_read(tmp_path, protocol):
    """A user may have rewritten the files."""
    entry, images, labels = make_entry(3)
    (tmp_path / "train").write_bytes(
        pickle.dumps({"data": entry[b"data"], "fine_labels": labels}, protocol)
    )
    assert np.array_equal(read_batch(tmp_path / "train", "fine_labels", 100).images.numpy(), images)


def test_python_2_keys_become_latin_1_text(tmp_path):
    write_pickle(tmp_path / "meta", {b"caf\xe9": b"caf\xe9"})
    assert load_arrays(tmp_path / "meta") == {"caf\xe9": b"caf\xe9"}


def test_what_cannot_be_written_to_is_copied(tmp_path, monkeypatch):
    """Protocol 5 may hand out memory that is of someone else; nor need it be in C's order."""
    entry, images, _ = make_entry(3)
    data = np.asfortranarray(entry[b"data"])
    data.setflags(write=False)
    monkeypatch.setattr(cifar100, "load_arrays", lambda _: {"data": data, "fine_labels": [0, 1, 2]})
    assert np.array_equal(read_batch(tmp_path, "fine_labels", 100).images.numpy(), images)


@pytest.mark.skipif(
    not REAL, reason="the folder of the real CIFAR-100 is not named by DATA_AUG_KD_CIFAR100"
)
def test_the_real_cifar100_test_set():
    path = Path(REAL) / "cifar-100-python" / "test"
    split = read_batch(path if path.exists() else Path(REAL) / "test", "fine_labels", 100)
    assert split.images.shape == (10000, 32, 32, 3)
    assert split.labels.bincount().tolist() == [100] * 100
    # Natural images: neighbouring pixels are alike along rows and columns, the colour channels are
    # not mixed up.
    pixels = split.images.float() / 255
    assert (pixels[:, 1:] - pixels[:, :-1]).abs().mean() < 0.06
    assert (pixels[:, :, 1:] - pixels[:, :, :-1]).abs().mean() < 0.06
    mean, std = pixels.mean(dim=(0, 1, 2)), pixels.std(dim=(0, 1, 2))
    assert (mean - torch.tensor(SPEC.mean)).abs().max() < 0.005
    assert (std - torch.tensor(SPEC.std)).abs().max() < 0.005


# --- The download ---------------------------------------------------------------------------------


def write_archive(path, root, extra=()):
    """A tar.gz of root/cifar-100-python with further members: (TarInfo, content)."""
    with tarfile.open(path, "w:gz") as tar:
        for info, content in extra:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        tar.add(root / "cifar-100-python", "cifar-100-python")


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """The file that the downloader will bring is put here."""
    archive = tmp_path / "offered.tar.gz"

    def bring(url, destination, hash_prefix=None, progress=True):
        assert url.startswith("https://www.cs.toronto.edu/") and len(hash_prefix) == 64
        shutil.copy(archive, destination)

    monkeypatch.setattr(torch.hub, "download_url_to_file", bring)
    return archive


def test_absent_data_are_downloaded_once(tmp_path, monkeypatch, offered):
    content = write_cifar(tmp_path / "source", train=9, test=4)
    stray = tarfile.TarInfo("../stray"), tarfile.TarInfo("cifar-100-python/file.txt~")
    write_archive(offered, tmp_path / "source", [(info, b"?") for info in stray])
    root = tmp_path / "new" / "data"
    data = datasets["cifar100"].load(DataRequest(root=root))
    assert np.array_equal(data.train.images.numpy(), content["train"][0])
    assert [path.name for path in root.iterdir()] == ["cifar-100-python"]
    assert {path.name for path in (root / "cifar-100-python").iterdir()} == {
        "train",
        "test",
        "meta",
    }
    assert {path.name for path in tmp_path.iterdir()} == {"source", "offered.tar.gz", "new"}
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    assert len(datasets["cifar100"].load(DataRequest(root=root)).test) == 4


@pytest.mark.parametrize("damage", ["no archive", "cut off", "file missing", "link", "checksum"])
def test_a_bad_archive_leaves_nothing(tmp_path, monkeypatch, offered, damage):
    source = tmp_path / "source"
    write_cifar(source, train=9, test=4)
    secret = tmp_path / "secret"
    secret.write_text("private")
    if damage == "file missing":
        (source / "cifar-100-python" / "test").unlink()
    if damage == "link":
        (source / "cifar-100-python" / "test").unlink()
        (source / "cifar-100-python" / "test").symlink_to(secret)
    write_archive(offered, source)
    if damage == "no archive":
        offered.write_bytes(b"<html>moved</html>")
    if damage == "cut off":
        offered.write_bytes(offered.read_bytes()[:-2000])
    if damage == "checksum":

        def wrong(url, destination, hash_prefix):
            raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "0")')

        monkeypatch.setattr(torch.hub, "download_url_to_file", wrong)
    (tmp_path / "data").mkdir()
    with pytest.raises(
        UserError,
        match=r"(?s)^could not download https://.*unpack it so that .*cifar-100-python/ holds",
    ):
        datasets["cifar100"].load(DataRequest(root=tmp_path / "data"))
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("place", ["a link to nothing", "a file", "below a file"])
def test_what_is_in_the_way_is_no_reason_to_download(tmp_path, monkeypatch, place):
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    root, folder = tmp_path / "data", tmp_path / "data" / "cifar-100-python"
    if place == "below a file":
        root.write_text("")
    else:
        root.mkdir()
        folder.symlink_to(
            tmp_path / "nothing"
        ) if place == "a link to nothing" else folder.write_text("")
    with pytest.raises(UserError, match=r"cifar-100-python.*--data_root names the folder above"):
        datasets["cifar100"].load(DataRequest(root=root))


# --- Nothing in a pickle is executed --------------------------------------------------------------


HOSTILE = {
    "os.system": (os.system, "touch {canary}"),
    "eval": (eval, "open('{canary}', 'w')"),
    "open": (open, "{canary}", "w"),
    "getattr": (getattr, os, "name"),
    "numpy.save": (np.save, "{canary}", 0),
    "numpy.load": (np.load, "{canary}"),
    "numpy.lib": (np.memmap, "{canary}", np.uint8, "w+", 0, 1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_before_they_act(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    function, *arguments = HOSTILE[name]
    if name == "getattr":
        arguments = [Path, "home"]  # modules cannot be pickled
    arguments = [a.format(canary=canary) if isinstance(a, str) else a for a in arguments]
    entry, _, _ = make_entry(2)
    entry[b"extra"] = Calls(function, *arguments)
    for protocol in (2, 4):
        (tmp_path / "train").write_bytes(pickle.dumps(entry, protocol))
        with pytest.raises(UserError, match=r"asks for .* which is not a NumPy array"):
            load_arrays(tmp_path / "train")
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_a_dotted_name_does_not_reach_through_an_allowed_one(tmp_path):
    """Protocol 4 resolves "ndarray.tofile" attribute by attribute."""
    hostile = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    assert pickle.loads(hostile) is np.ndarray.tofile  # that it would work
    (tmp_path / "train").write_bytes(hostile)
    with pytest.raises(UserError, match=r"asks for numpy.ndarray.tofile"):
        load_arrays(tmp_path / "train")


def test_what_is_no_dict_is_refused(tmp_path):
    (tmp_path / "train").write_bytes(pickle.dumps([1, 2], 2))
    with pytest.raises(UserError, match="it holds a list, not a dict"):
        load_arrays(tmp_path / "train")


def test_every_truncation_of_a_file_is_an_error_of_one_kind(tmp_path):
    entry, _, _ = make_entry(1)
    buffer = io.BytesIO()
    pickle.dump(entry, buffer, 2)
    content = buffer.getvalue()
    for length in range(0, len(content), 61):
        (tmp_path / "train").write_bytes(content[:length])
        with pytest.raises(UserError, match="damaged"):
            load_arrays(tmp_path / "train")
