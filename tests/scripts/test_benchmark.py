"""scripts/benchmark.py on a tiny setting: it runs, and its JSON has the fields that BENCHMARKS.md
documents."""

import json
import re
from pathlib import Path

import pytest
from fake_cifar import write_cifar
from script_calls import call, check_refused

from helper.errors import UserError, one_line_errors
from scripts import benchmark
from scripts.bench import machine

ROOT = Path(benchmark.__file__).parent.parent
FIELDS = set(re.findall(r"^- `(\w+)`", (ROOT / "BENCHMARKS.md").read_text(), flags=re.MULTILINE))


@pytest.mark.slow
def test_table_json_and_trace(tmp_path, monkeypatch):
    monkeypatch.setitem(machine.MATMUL_SIZE, "cpu", 64)  # large products take time
    monkeypatch.setattr(machine, "SMALL_SIZE", 64)
    write_cifar(tmp_path)
    words = (
        f"--data_root {tmp_path} --pairs wrn_16_1/resnet8 --modes cutmix_pick --variants float32"
    )
    small = "--device cpu --threads 1 --batch_size 8 --steps 1 --rounds 1"
    files = ("--json", tmp_path / "b.json", "--profile", tmp_path / "traces")
    result = call(benchmark, *words.split(), *small.split(), *files)
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
    words = (
        "--pairs wrn_16_1/resnet8 --jobs stddev --variants float32 --no_classic --device cpu "
        "--batch_size 8 --steps 1"
    )
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
def test_bad_input_is_one_line(words, told):
    check_refused(benchmark, words, told)
