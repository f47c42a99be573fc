"""The script that brings the public teachers, against archives offered as file:// addresses."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
from places import ROOT
from script_calls import call
from hostile import Calls

from models import build_model
from scripts import unpack_teachers

SCRIPT = ROOT / "scripts" / "set_up_pretrained_models.sh"

needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None, reason="the script downloads with curl"
)


def weights(name, num_classes):
    generator = torch.Generator().manual_seed(0)
    return build_model(name, num_classes=num_classes, img_size=32, generator=generator).state_dict()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment that needs no installation: the one that runs the tests."""
    venv = tmp_path_factory.mktemp("venv")
    (venv / "bin").mkdir()
    (venv / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (venv / "bin" / "python").chmod(0o755)
    shutil.copy(ROOT / "requirements.txt", venv / ".installed-requirements")
    return venv


@pytest.fixture
def bring(tmp_path, environment):
    """Runs the script; archives are looked for in tmp_path/source, teachers go to tmp_path/save."""
    (tmp_path / "source").mkdir()

    def run(*words):
        variables = {
            "SAVE": str(tmp_path / "save"),
            "SOURCE": f"file://{tmp_path}/source",
            "VENV": str(environment),
        }
        return subprocess.run(
            ["sh", str(SCRIPT), *words],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def write_archive(path, checkpoints):
    """{name in the archive: checkpoint}"""
    with zipfile.ZipFile(path, "w") as archive:
        for name, checkpoint in checkpoints.items():
            scratch = path.with_suffix(".pth")
            torch.save(checkpoint, scratch)
            archive.write(scratch, name)
            scratch.unlink()


def placed(tmp_path):
    return sorted(
        str(path.relative_to(tmp_path / "save")) for path in (tmp_path / "save").rglob("*.pth")
    )


CIFAR = "teachers_cifar100/resnet8_vanilla/ckpt_epoch_240.pth"


@pytest.mark.slow
@needs_curl
def test_both_archives_go_to_their_places_and_unpacking_again_changes_nothing(tmp_path, bring):
    public = {
        "model": {f"module.{k}": v for k, v in weights("resnet8", 100).items()},
        "accuracy": 72.5,
    }
    tiny = {"model": weights("wrn_16_1", 200), "epoch": 240}
    write_archive(tmp_path / "source" / "teachers_cifar100.zip", {CIFAR: public, "x/readme.txt": 1})
    name = "save/models_tiny/wrn_16_1_vanilla/ckpt_epoch_240.pth"
    write_archive(tmp_path / "source" / "teachers_tinyimagenet.zip", {name: tiny})
    part = tmp_path / "save" / "teachers_cifar100.zip.part"  # a download that broke off
    part.parent.mkdir()
    part.write_bytes((tmp_path / "source" / "teachers_cifar100.zip").read_bytes()[:1000])
    first = bring()
    assert first.returncode == 0, first.stderr
    whole = part.with_suffix("")
    assert whole.read_bytes() == (tmp_path / "source" / whole.name).read_bytes()
    assert placed(tmp_path) == [
        "models/resnet8_vanilla/ckpt_epoch_240.pth",
        "models_tiny/wrn_16_1_vanilla/ckpt_epoch_240.pth",
    ]
    assert "resnet8, 100 classes, accuracy 72.50 on record" in first.stdout
    assert "wrn_16_1, 200 classes\n" in first.stdout
    path = tmp_path / "save" / "models" / "resnet8_vanilla" / "ckpt_epoch_240.pth"
    before = path.stat().st_mtime_ns
    second = unpack(tmp_path, whole)
    assert second.returncode == 0 and "there already" in second.stdout
    assert path.stat().st_mtime_ns == before


@needs_curl
def test_what_cannot_be_downloaded_is_one_line_with_the_way_out(tmp_path, bring):
    result = bring("tinyimagenet")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "teachers_tinyimagenet.zip. With no network, fetch it elsewhere, put it at " in line
    assert f"{tmp_path}/save/teachers_tinyimagenet.zip and run this again" in line


def test_a_server_that_cannot_continue_a_part_is_asked_for_all(tmp_path, bring, monkeypatch):
    curl = tmp_path / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text(
        "#!/bin/sh\ncase $* in *--continue-at*) exit 33 ;; *) echo asked; exit 7 ;; esac"
    )
    curl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{curl.parent}:{os.environ['PATH']}")
    result = bring("cifar100")
    assert result.returncode == 2 and "error: asked: " in result.stderr


def unpack(tmp_path, archive):
    """As the shell script does it with an archive that is there."""
    return call(unpack_teachers, "--save", tmp_path / "save", archive)


def test_bad_checkpoints_are_left_out_and_named(tmp_path):
    archive = tmp_path / "mixed.zip"
    write_archive(
        archive,
        {
            "a/resnet8_vanilla/hostile.pth": {
                "model": Calls(os.system, f"touch {tmp_path}/canary")
            },
            "a/vgg8_vanilla/other.pth": {"model": weights("resnet8", 100)},
            "a/nothing_vanilla/unknown.pth": {"model": {"a": torch.ones(2, 2), "b": torch.ones(2)}},
            "a/resnet8_vanilla/empty.pth": {"epoch": 3},
            "../../resnet8_vanilla/outside.pth": {"model": weights("resnet8", 100)},
            "a/resnet8_vanilla/good.pth": {"model": weights("resnet8", 100)},
        },
    )
    result = unpack(tmp_path, archive)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    for fragment in (
        "resnet8_vanilla/hostile.pth",
        "holds objects other than weights",
        "is a resnet8",
        "its folder is called vgg8_vanilla",
        "cannot tell the model",
        "holds no weights",
    ):
        assert fragment in result.stderr, fragment
    assert placed(tmp_path) == [
        "models/resnet8_vanilla/good.pth",
        "models/resnet8_vanilla/outside.pth",
    ]
    assert not (tmp_path / "canary").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"save", "mixed.zip"}


@pytest.mark.parametrize("damage", ["cut off", "flipped", "text", "no teachers"])
def test_damaged_archives(tmp_path, damage):
    archive = tmp_path / "bad.zip"
    name = "x/readme.pth" if damage == "no teachers" else CIFAR
    write_archive(archive, {name: {"model": weights("resnet8", 100)}})
    content = bytearray(archive.read_bytes())
    if damage == "cut off":
        content = content[:-300]
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    if damage == "text":
        content = b"<html>"
    archive.write_bytes(content)
    result = unpack(tmp_path, archive)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "bad.zip" in line and "Traceback" not in line
    assert not (tmp_path / "save").exists() or placed(tmp_path) == []


def test_another_file_in_its_place_is_kept(tmp_path):
    archive = tmp_path / "new.zip"
    write_archive(archive, {CIFAR: {"model": weights("resnet8", 100)}})
    other = tmp_path / "save" / "models" / "resnet8_vanilla" / "ckpt_epoch_240.pth"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"other")
    result = unpack(tmp_path, archive)
    assert result.returncode == 2 and "is there already and is another file" in result.stderr
    assert other.read_bytes() == b"other"


def test_wrong_words(bring):
    result = bring("cifar10")
    assert (
        result.returncode == 2
        and "unknown data set cifar10; choices: cifar100, tinyimagenet" in result.stderr
    )
    assert "absent.zip does not exist" in bring("absent.zip").stderr
