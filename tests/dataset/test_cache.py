"""The cache of decoded images, wanted by many processes at once."""

import os
import signal
import time

import pytest
from fake_images import write_tiny_imagenet
from forked import start

from dataset import DataRequest, datasets


@pytest.fixture
def root(tmp_path):
    write_tiny_imagenet(tmp_path / "data", per_class=1, val=3)
    return tmp_path / "data"


def load(root, slowly=0.0):
    """As a script's main function: decodes, or waits, and prints a fingerprint."""

    def main(_):
        from dataset import cache

        real = cache.open_rgb

        def slow(path):
            time.sleep(slowly)
            return real(path)

        cache.open_rgb = slow
        data = datasets["tinyimagenet"].load(DataRequest(root=root, num_workers=0))
        print(f"pid {os.getpid()} {data.fingerprint()}")

    return main


def test_eight_processes_build_one_cache(root, tmp_path):
    children = [
        start(load(root, 0.002), "", tmp_path, output=tmp_path / f"child{k}") for k in range(8)
    ]
    assert [child.wait() for child in children] == [0] * 8, [child.stderr for child in children]
    outputs = [child.stdout.splitlines() for child in children]
    assert sum(any(line.startswith("decoding ") for line in lines) for lines in outputs) == 1
    assert all(
        lines[0].startswith(("decoding ", "waiting for another process", "pid "))
        for lines in outputs
    )
    assert len({lines[-1].split()[2] for lines in outputs}) == 1
    assert len([path for path in (root / "cache").iterdir() if not path.name.startswith(".")]) == 1
    assert not list((root / "cache").glob(".building-*"))


def test_when_the_builder_is_killed_another_builds(root, tmp_path):
    first = start(load(root, 0.05), "", tmp_path, output=tmp_path / "first")
    while "decoding " not in first.stdout:
        time.sleep(0.01)
    second = start(load(root), "", tmp_path, output=tmp_path / "second")
    while "waiting for another process" not in second.stdout:
        time.sleep(0.01)
    first.kill(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert second.wait() == 0, second.stderr
    assert "decoding " in second.stdout
    assert not list((root / "cache").glob(".building-*"))
