"""The record of code, machine and teacher; the check of the teacher against its accuracy."""

import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import TINY, load, log_lines, new_run, run

from dataset import DataRequest, datasets
from dataset.batches import Batches
from helper.errors import UserError
from helper.loop.teacher_check import check_accuracy
from helper.run.recorded import recorded_accuracy
from helper.run.provenance import PACKAGES, ROOT, commit, provenance

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
pytestmark = pytest.mark.usefixtures("empty_folder")
WORDS = f"{TINY} --seed 3 --model_s resnet8 --lw_mix [1,0,1] --mix_mode flip"


def starts(folder):
    return [
        json.loads(line) for line in (folder / "log" / "provenance.jsonl").read_text().splitlines()
    ]


def test_each_start_is_on_record(tiny_teacher):
    words = (WORDS, f"--path_t {tiny_teacher}")
    folder = new_run(STUDENT, *words, "--epochs 1")
    run(STUDENT, *words, "--epochs 2 --resume_ExpID latest")
    first, second = starts(folder)
    assert (ROOT / STUDENT).exists()  # or the commit is looked for in the wrong folder
    assert {**first, "time": 0} == {**second, "time": 0}
    assert first["teacher_checksum"] == hashlib.sha256(tiny_teacher.read_bytes()).hexdigest()[:16]
    assert first["teacher_accuracy"] == load(tiny_teacher)["accuracy"]
    assert set(first["packages"]) == set(PACKAGES) and first["device"].startswith("cpu, ")
    args = json.loads((folder / "log" / "args.json").read_text())
    assert (args["seed"], args["model_t"]) == (3, "resnet14")
    for name in ("data_fingerprint", "teacher_checksum"):
        assert args[name] == first[name]
    (line, _) = [line for line in log_lines(folder) if line.startswith("version ")]
    for part in (
        f"torch {torch.__version__.split('+')[0]}",
        first["data_fingerprint"],
        first["teacher_checksum"],
    ):
        assert part in line


def test_the_fingerprint_is_that_of_the_content():
    def fingerprint(**changes):
        request = DataRequest(
            **{
                "root": Path("data"),
                "limit_train": 50,
                "limit_test": 9,
                "num_classes": 5,
                "img_size": 16,
                **changes,
            }
        )
        return datasets["synthetic"].load(request).fingerprint()

    assert fingerprint() == fingerprint(root=Path("elsewhere"))
    assert (
        len(
            {
                fingerprint(),
                fingerprint(limit_train=51),
                fingerprint(limit_test=8),
                fingerprint(num_classes=6),
            }
        )
        == 4
    )
    data = datasets["synthetic"].load(
        DataRequest(root=Path("data"), limit_train=50, num_classes=5, img_size=16)
    )
    before = data.fingerprint()
    data.train.images[7, 3, 3, 0] ^= 1
    changed = data.fingerprint()
    data.train.images[7, 3, 3, 0] ^= 1
    assert changed != before == data.fingerprint()


def test_the_commit_is_that_of_the_code(tmp_path):
    def git(*words):
        identity = ("-c", "user.name=n", "-c", "user.email=e")
        return subprocess.run(
            ("git", *identity, *words), cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    assert commit(tmp_path) is None
    git("init", "-q")
    Path("a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD").strip()
    assert commit(tmp_path) == head
    Path("b.txt").write_text("of no concern")
    assert commit(tmp_path) == head
    Path("a.py").write_text("2")
    assert commit(tmp_path) == f"{head}-dirty"
    (tmp_path / "copy").mkdir()
    assert commit(tmp_path / "copy") is None  # someone else's history


def test_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance(torch.device("cpu"))["commit"] is None


# --- The teacher ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, accuracy",
    [
        ({"accuracy": 74.5}, 74.5),
        ({"accuracy": torch.tensor(74.5)}, 74.5),
        ({"best_acc": np.float64(0.745)}, 74.5),
        ({"accuracy": "unknown", "best_acc": 70.0}, 70.0),
        ({"accuracy": float("nan")}, None),
        ({"accuracy": torch.zeros(3)}, None),
        ({"accuracy": 740.0}, None),
        ({"accuracy": 0.0}, None),
        ({"arch": "vgg8", "num_classes": 9, "accuracy": 0.0}, 0.0),
        ({"arch": "vgg8", "num_classes": 9, "accuracy": torch.zeros(3)}, None),
        ({}, None),
    ],
)
def test_recorded_accuracy(content, accuracy):
    assert recorded_accuracy(content) == (None if accuracy is None else pytest.approx(accuracy))


class AlwaysZero(torch.nn.Module):
    def forward(self, images):
        return torch.nn.functional.one_hot(torch.zeros(len(images), dtype=torch.long), 5).float()


@pytest.mark.parametrize(
    "recorded, passes",
    [
        (None, True),
        (15.0, True),
        (20.0, True),
        (21.9, True),
        (27.9, True),
        (28.1, False),
        (90, False),
    ],
)
def test_far_below_is_four_standard_errors(recorded, passes):
    """400 images, 80 in each class, give a top-1 of 20 %; the standard error of 28 % is 2.2 points
    (binomial)."""
    data = datasets["synthetic"].load(
        DataRequest(root=Path("data"), limit_test=400, num_classes=5, img_size=16)
    )
    assert data.test.labels.bincount().tolist() == [80] * 5
    test = Batches(data.test, data.spec, 100)
    if recorded == 27.9:  # 4 * 100 * sqrt(.279 * .721 / 400) = 8.97
        recorded = 28.9
    if recorded == 28.1:  # 4 * 100 * sqrt(.292 * .708 / 400) = 9.09
        recorded = 29.2
    if passes:
        assert check_accuracy(AlwaysZero(), recorded, test, amp=False, flag="--path_t x").acc1 == 20
    else:
        with pytest.raises(
            UserError, match=r"--path_t x: the teacher's top-1 is 20.00 on 400 test images, but its"
        ):
            check_accuracy(AlwaysZero(), recorded, test, amp=False, flag="--path_t x")


def test_a_teacher_far_below_its_record_stops_the_run(tiny_teacher, capsys):
    words = (WORDS, "--epochs 1 --test_teacher")
    folder = new_run(STUDENT, *words, f"--path_t {tiny_teacher}")
    accuracy = load(tiny_teacher)["accuracy"]
    assert any(line.startswith(f"Teacher Acc1 {accuracy:.4f} Acc5 ") for line in log_lines(folder))
    content = load(tiny_teacher)
    content["accuracy"] = 93.0
    wrong = Path("resnet14_vanilla/wrong.pth")
    wrong.parent.mkdir()
    torch.save(content, wrong)
    before = set(Path("Experiments").iterdir())
    with pytest.raises(SystemExit) as stopped:
        run(STUDENT, *words, f"--path_t {wrong}")
    assert stopped.value.code == 2 and set(Path("Experiments").iterdir()) == before
    assert "its checkpoint records 93.00" in capsys.readouterr().err
