"""The last two checkpoints: the logs' lengths are in the file, damage is seen, and files of version
0.1 are read."""

import hashlib
import json

import pytest
import torch

from helper.errors import UserError
from helper.run import last_two
from helper.run.checkpoint import save_checkpoint

STATE = {"model": {"w": torch.arange(400.0)}, "epoch": 3}


def test_the_lengths_are_in_the_file_and_pytorch_reads_it(tmp_path):
    last_two.save_latest(tmp_path, STATE, {"log.txt": 7})
    first = (tmp_path / "ckpt.pth").read_bytes()
    last_two.save_latest(tmp_path, STATE, {"log.txt": 9})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt.previous.pth", "ckpt.pth"]
    assert (tmp_path / "ckpt.previous.pth").read_bytes() == first
    for name, length in (("ckpt.pth", 9), ("ckpt.previous.pth", 7)):
        _, lengths = last_two.read_with_lengths("--resume", tmp_path / name)
        assert lengths == {"log.txt": length}
        loaded = torch.load(tmp_path / name, weights_only=True)
        assert loaded["epoch"] == 3 and torch.equal(loaded["model"]["w"], STATE["model"]["w"])


def test_every_byte_of_the_weights_counts(tmp_path):
    last_two.save_latest(tmp_path, STATE, {})
    path = tmp_path / "ckpt.pth"
    content = bytearray(path.read_bytes())
    content[content.index(STATE["model"]["w"].numpy().tobytes()) + 1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"--resume .*ckpt.pth is damaged"):
        last_two.read_with_lengths("--resume", path)


@pytest.mark.parametrize("noted", [{"log.txt": 5}, {"log.txt": -5}, 3, None])
def test_a_run_of_version_0_1_has_them_in_checksums_json(tmp_path, noted):
    path = tmp_path / "ckpt.pth"
    save_checkpoint(path, STATE)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entries = {"ckpt.previous.pth": {"sha256": digest, "note": noted}}
    (tmp_path / "checksums.json").write_text(json.dumps(entries))
    _, lengths = last_two.read_with_lengths("--resume", path)
    assert lengths == (noted if noted == {"log.txt": 5} else {})
    path.write_bytes(path.read_bytes() + b" ")
    (tmp_path / "checksums.json").write_text("[1]")
    assert last_two.read_with_lengths("--resume", path)[1] == {}
