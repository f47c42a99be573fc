"""The scripts: results of run folders, correlations, and shell syntax."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from distiller_zoo import FeatureDistiller, distillers
from helper.options import parse_student

SCRIPTS = Path(__file__).parent.parent / "scripts"


def call(script, *arguments):
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def make_run(folder, records, **options):
    args = {"dataset": "cifar100", "model_s": "vgg8", "fix_student": False, "epochs": 2} | options
    (folder / "log").mkdir(parents=True)
    (folder / "log" / "args.json").write_text(json.dumps(args))
    (folder / "log" / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def job(scheme):
    return {"kind": "job", "teacher": "vgg13", "scheme": scheme, "epochs": 2}


def epoch(number, loss, acc1):
    return {"kind": "epoch", "epoch": number, "test_loss": loss, "acc1": acc1}


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "Experiments"
    make_run(root / "a", [job("flip"), epoch(1, 9.0, 1.0), epoch(2, 1.25, 60.0)])
    make_run(root / "b", [job("flip"), epoch(1, 9.0, 1.0), epoch(2, 1.75, 62.0)])
    make_run(root / "c", [job("flip"), epoch(1, 99.0, 1.0)])  # cut off
    make_run(root / "d", [job("flip"), {"kind": "summary", "t_stddev": 0.005}], fix_student=True)
    pick = job("cutmix_pick by teacher_entropy")
    make_run(root / "e", [pick, epoch(2, 1.0, 70.0)])
    make_run(root / "f", [{"kind": "epoch", "epoch": 2}])  # a teacher's
    return root


def test_collect_results_pairs_and_averages_finished_runs(runs, tmp_path):
    result = call("collect_results.py", runs, "--csv", tmp_path / "out.csv")
    assert result.returncode == 0, result.stderr
    assert (
        "not counted" in result.stderr
        and str(runs / "c") in result.stderr
        and "epoch 1 of 2" in result.stderr
    )
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "dataset,teacher,student,augmentation,t_stddev,s_test_loss,s_acc1",
        "cifar100,vgg13,vgg8,flip,0.005,1.5,61",
        "cifar100,vgg13,vgg8,cutmix_pick_teacher_entropy,,1,70",
    ]
    flip = next(line for line in result.stdout.splitlines() if line.startswith("flip"))
    assert flip.split() == ["flip", "0.005000", "1.5000", "±0.3536", "61.00", "±1.41", "2+1"]


def test_collect_results_of_nothing_is_one_line(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        result = call("collect_results.py", folder)
        assert result.returncode == 2 and result.stderr.count("\n") == 1 and str(folder) in result.stderr


def test_plot_correlation_says_what_scipy_says(tmp_path):
    random = np.random.RandomState(0)
    x, y = random.uniform(0.004, 0.006, 9), random.uniform(1, 2, 9)
    rows = [f"cifar100,vgg13,vgg8,scheme{i},{a},{b}" for i, (a, b) in enumerate(zip(x, y))]
    table = tmp_path / "points.csv"
    table.write_text("dataset,teacher,student,augmentation,t_stddev,s_test_loss\n" + "\n".join(rows) + "\n")
    result = call("plot_correlation.py", table, "-o", tmp_path / "plot.png", "--json")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    (panel,) = json.loads(result.stdout)
    functions = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}
    for name, function in functions.items():
        assert (panel[name]["r"], panel[name]["p"]) == pytest.approx(tuple(function(x, y)), rel=1e-9)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_points_say_so(tmp_path, count):
    table = tmp_path / "points.csv"
    rows = [f"cifar100,vgg13,vgg8,s{i},0.00{i + 4},1.{i}" for i in range(count)]
    table.write_text("\n".join(["dataset,teacher,student,augmentation,t_stddev,s_test_loss", *rows]) + "\n")
    result = call("plot_correlation.py", table, "-o", tmp_path / "plot.png")
    assert "Traceback" not in result.stderr and (result.stdout + result.stderr).strip()


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.name)
def test_shell_syntax(script):
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_quickstart_names_the_choices():
    result = call("quickstart.py", "cifar1000")
    assert result.returncode == 2 and "cifar100" in result.stderr and "Traceback" not in result.stderr


def printed_commands(*words, **variables):
    script = str(SCRIPTS / "distill_cifar100.sh")
    result = subprocess.run(
        ["bash", script, "--print", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **variables},
    )
    return [shlex.split(line) for line in result.stdout.splitlines()]


def test_distill_cifar100_prints_a_command_for_every_method():
    commands = printed_commands(TEACHER="vgg13", STUDENT="vgg8")
    names = []
    for program, script, *words in commands:
        assert (program, script) == ("python", "train_student.py")
        options = parse_student(words)
        names.append(options.distill)
        assert options.path_t == "save/models/vgg13_vanilla/ckpt_epoch_240.pth" and options.model_s == "vgg8"
    assert sorted(names) == sorted([*distillers, "kd+crd"])


def test_distill_cifar100_gives_the_published_weights():
    """What the script spells out is what the program takes by itself, but for kd, whose paper has -r 0.1."""
    for _, _, *words in printed_commands():
        options = parse_student(words)
        for name in options.distill.split("+"):
            is_feature = issubclass(distillers[name], FeatureDistiller)
            given = options.beta if is_feature else options.alpha
            if name != "kd" and given is not None:
                assert given == distillers[name].default_weight, name
        if options.gamma is not None and options.distill != "kd":
            assert options.gamma == min(distillers[n].default_gamma for n in options.distill.split("+"))


def test_distill_cifar100_passes_words_on():
    (first, second) = printed_commands("crd", "ls", "--", "--trial", "2", "--lw_mix", "[1,0,1]")
    assert first[-4:] == second[-4:] == ["--trial", "2", "--lw_mix", "[1,0,1]"]
    assert "crd" in first and "ls" in second
