"""scripts/benchmark.py on a tiny setting: it runs, and its JSON has the fields that BENCHMARKS.md
documents."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_cifar import write_cifar

from helper.errors import UserError, one_line_errors
from models import model_dict
from models.model_info import count_parameters
from scripts import benchmark, scaling

ROOT = Path(benchmark.__file__).parent.parent
FIELDS = set(re.findall(r"^- `(\w+)`", (ROOT / "BENCHMARKS.md").read_text(), flags=re.MULTILINE))


def call(script, *words):
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_table_json_and_trace(tmp_path):
    write_cifar(tmp_path)
    words = (
        f"--data_root {tmp_path} --pairs wrn_16_1/resnet8 --modes cutmix_pick --variants float32"
    )
    small = "--device cpu --threads 1 --batch_size 8 --steps 1 --rounds 1"
    files = ("--json", tmp_path / "b.json", "--profile", tmp_path / "traces")
    result = call("benchmark.py", *words.split(), *small.split(), *files)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "b.json").read_text())
    (row,) = report["rows"]
    assert set(report) | set(row) == FIELDS
    assert row["ratio"] == row["ratios"][0] > 0 and row["steps_per_second"] > 0
    assert (
        sum(row["shares"].values()) == pytest.approx(1, abs=1e-3) and row["shares"]["student"] > 0
    )
    assert result.stdout.count("\n| wrn_16_1/resnet8 | cutmix_pick | train | float32 |") == 1
    traces = sorted(path.name for path in (tmp_path / "traces").iterdir())
    assert traces == [
        f"wrn_16_1-resnet8_cutmix_pick_train_float32.{kind}" for kind in ("json", "txt")
    ]


def test_a_pass_without_the_classic_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "measure_ceilings", lambda device: {"float32": 10.0})
    words = "--pairs wrn_16_1/resnet8 --jobs stddev --variants float32 --no_classic --device cpu --batch_size 8 --steps 1"
    write_cifar(tmp_path)
    benchmark.main(
        [*words.split(), "--data_root", str(tmp_path), "--json", str(tmp_path / "b.json")]
    )
    (row,) = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert row["job"] == "stddev" and row["ratio"] is None and row["shares"]["student"] == 0


def test_a_case_that_fails_costs_none_before_it(tmp_path, monkeypatch, capsys):
    def measure(self, case, ceilings):
        if case.mode == "mixup":
            raise UserError("no memory left")
        return [benchmark.Row(*case, "float32", 1, 2.0, 128.0, None, (), None, None, 5.0, 0.5)]

    monkeypatch.setattr(benchmark.Bench, "measure", measure)
    monkeypatch.setattr(benchmark, "measure_ceilings", lambda device: {"float32": 10.0})
    words = f"--dataset synthetic --device cpu --modes flip,mixup --json {tmp_path / 'b.json'}"
    with pytest.raises(SystemExit), one_line_errors(benchmark.PROGRAM):
        benchmark.main(words.split())
    assert [row["mode"] for row in json.loads((tmp_path / "b.json").read_text())["rows"]] == [
        "flip"
    ]
    assert "| flip | train | float32 | 1 | 2.00 | 128 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--pairs vgg13", "'vgg13' is not a pair teacher/student"),
        ("--pairs vgg13/vgg9", "Did you mean 'vgg19'"),
        ("--modes cutmx", "Did you mean 'cutmix'"),
        ("--steps 0", "'0' is not a whole number of at least 1"),
        ("--json /nowhere/b.json --dataset synthetic", "no such folder"),
        ("--round 3 --stepz 4", "The nearest one is --steps"),
    ],
)
def test_bad_input_is_one_line(words, told, capsys):
    check_refused(benchmark, words, told, capsys)


def check_refused(script, words, told, capsys):
    with pytest.raises(SystemExit) as stopped, one_line_errors(script.PROGRAM):
        script.main(words.split())
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and told in err and len(err.splitlines()) == 1 and not out, err


def test_scaling_by_hand():
    """resnet8 has 83,796 parameters with 100 classes; a ring of two sends them once, of 4 bytes
    each."""
    words = "--pairs resnet14/resnet8 --fixed_ms 0 --image_us 1 --gigabytes_per_s 1 --latency_us 0"
    result = call("scaling.py", *words.split())
    assert result.returncode == 0, result.stderr
    parameters = count_parameters(model_dict["resnet8"](num_classes=100, img_size=32))
    assert f"| 0.08 M | {parameters * 4 / 1e6:.2f} MB / " in result.stdout
    # Of a batch of 64: half the images, the gradient, and half of four times 64 rows of 100 logits.
    seconds = 32e-6 + (parameters * 4 + 0.5 * 4 * 64 * 100 * 4) / 1e9
    assert f"| 64 | {64e-6 / seconds:.2f}x " in result.stdout and "Not measured" in result.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--pairs nonet/resnet8", "unknown model 'nonet'"),
        ("--pairs resnet8", "'resnet8' is not teacher/student"),
        ("--fixed_mz 3", "The nearest one is --fixed_ms"),
        ("--latency_us x", "'x' is not a number of at least 0"),
        ("--fixed_ms 0 --image_us 0", "a step takes some time"),
    ],
)
def test_bad_input_to_scaling(words, told, capsys):
    check_refused(scaling, words, told, capsys)
