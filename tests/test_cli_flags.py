"""Flags of the two scripts: what they change in a run, in its log and in its files."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import (
    identical,
    load,
    log_lines,
    metrics,
    new_run,
    run,
    snapshot,
    the_run,
)
from paper_runs import (
    PAPER,
    PASS,
    RESUMABLE,
    SCHEMES,
    STDDEV_LINE,
    STUDENT,
    TEACHER,
    WORDS,
    N,
    distil,
    matches,
    weights_files,
)
from places import ROOT

import helper.speed.bfloat16
from augment import mix_modes, pick_criteria
from dataset import datasets
from distiller_zoo import distillers
from models import model_dict

pytestmark = pytest.mark.usefixtures("empty_folder")


# --- What is asked for without effect -----------------------------------------------------------


def test_check_ce_var_works_without_utils_on(paper_teacher):
    folder = distil(paper_teacher, SCHEMES["cutmix"], PASS.replace("--utils.ON", ""))
    warnings = [line for line in log_lines(folder) if "warning" in line]
    assert len(warnings) == 1 and "--utils.check_ce_var without --utils.ON" in warnings[0]
    assert len(metrics(folder, "t_stddev")) == 2
    usual = distil(paper_teacher, SCHEMES["cutmix"], PASS)
    assert metrics(usual, "t_stddev") == metrics(folder, "t_stddev")
    assert not any("warning" in line for line in log_lines(usual))


def test_a_student_that_is_not_needed_is_not_read(paper_teacher):
    """The published commands give one to every pass."""
    folder = distil(paper_teacher, SCHEMES["identity"], PASS, "--finetune_student absent.pth")
    assert "--finetune_student is not read: this pass needs no student" in log_lines(folder)


def test_mix_mode_without_lw_mix_warns(paper_teacher):
    words = (WORDS, f"--path_t {paper_teacher[0]} --epochs 1 --mix_mode cutmix -r 0.1")
    folder = new_run(STUDENT, *words)
    lines = log_lines(folder)
    assert [
        line
        for line in lines
        if "warning: --mix_mode cutmix has no effect without --lw_mix" in line
    ]
    (entry,) = metrics(folder, "train")
    assert entry["loss"] == pytest.approx(0.1 * entry["cls"] + 0.9 * entry["div"], rel=1e-5)
    assert not [name for name in entry if name.startswith("div-")]
    assert re.search(rf"loss_cls\(\*0\.1\) {N} loss_div\(\*0\.9\) {N}$", lines[-3])


def test_statistics_while_training_leave_the_training_alone(paper_teacher, trained):
    plain = distil(paper_teacher, SCHEMES["cutmix"], "--epochs 4 --lr_decay_epochs 3")
    assert identical(
        load(plain / "weights" / "ckpt.pth")["model"],
        load(trained / "weights" / "ckpt.pth")["model"],
    )
    assert len(matches(STDDEV_LINE, log_lines(trained))) == 2 and not matches(
        STDDEV_LINE, log_lines(plain)
    )


# --- Other flags ----------------------------------------------------------------------------------


def test_the_other_statistics(paper_teacher, trained):
    student = f"--finetune_student {trained}/weights/ckpt.pth"
    folder = distil(
        paper_teacher,
        SCHEMES["mixup"],
        PASS,
        student,
        "--utils.check_ce_var_v2 --utils.check_ce_var_v3",
    )
    lines = log_lines(folder)
    assert [
        line
        for line in lines
        if re.match(r"Check T prob V2: Epoch 1 Step 0 TotalStep 0 Cov1_mean -?\d", line)
    ]
    assert [
        line
        for line in lines
        if re.match(r"Check T prob V2: Epoch 4 Step 1 TotalStep 10 Corr1_mean \d", line)
    ]
    assert [
        line
        for line in lines
        if line.startswith("Check Covariance: NumOfSamples 0 Epoch 4 Step 2 ")
    ]
    assert [entry["step"] for entry in metrics(folder, "covariance")] == [0, 10]
    (summary,) = metrics(folder, "summary")
    assert (
        summary["t_stddev"] > 0
        and abs(summary["Cov2_mean"]) < 1e-9
        and summary["covariance"] is None
    )
    assert len(matches(STDDEV_LINE, lines)) == 2


def test_one_draw_per_image(paper_teacher):
    results = {}
    for draw in ("batch", "sample"):
        folder = distil(paper_teacher, SCHEMES["cutmix"], f"--epochs 1 --mix_draw {draw}")
        assert any(
            f"second view: cutmix, one draw per {draw}" in line for line in log_lines(folder)
        )
        (results[draw],) = metrics(folder, "train")
    assert results["batch"]["div-mixKLD"] != results["sample"]["div-mixKLD"]


def test_mixed_precision(paper_teacher, monkeypatch):
    seconds = {torch.float32: 0.001, torch.bfloat16: 0.002}
    monkeypatch.setattr(helper.speed.bfloat16, "seconds_of_convolution", seconds.__getitem__)
    folder = distil(paper_teacher, SCHEMES["cutmix"], "--epochs 1 --amp --limit_train 16")
    for expected in ("bfloat16 autocast", "warning: --amp: this CPU takes 2.0 times as long"):
        assert any(expected in line for line in log_lines(folder))
    (half,) = metrics(folder, "train")
    (full,) = metrics(
        distil(paper_teacher, SCHEMES["cutmix"], "--epochs 1 --limit_train 16"), "train"
    )
    assert half["loss"] != full["loss"] and half["loss"] == pytest.approx(full["loss"], rel=0.1)
    assert {value.dtype for value in load(folder / "weights" / "ckpt.pth")["model"].values()} == {
        torch.float32,
        torch.int64,
    }


def test_mixed_label_loss_has_its_weight(paper_teacher):
    folder = distil(paper_teacher, SCHEMES["cutmix"], "--epochs 1 --lw_mix [1,0.5,2]")
    (entry,) = metrics(folder, "train")
    div = entry["div-oriKLD"] + 0.5 * entry["div-mixCE"] + 2 * entry["div-mixKLD"]
    assert entry["loss"] == pytest.approx(0.1 * entry["cls"] + 0.9 * div, rel=1e-5)
    assert entry["div-mixCE"] > 1


def test_pictures_curves_and_extra_checkpoints(paper_teacher):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = (
        "--epochs 2 --save_freq 2 --save_img_interval 2 --tb_freq 2 --debug --utils.check_ce_var"
    )
    run(STUDENT, WORDS, PAPER, SCHEMES["cutmix"], f"--path_t {paper_teacher[0]}", words)
    assert not Path("Experiments").exists()
    folder = the_run("Debug_Dir")
    assert weights_files(folder) == {*RESUMABLE, "resnet8_best.pth", "ckpt_epoch_2.pth"}
    assert {path.name for path in (folder / "gen_img").iterdir()} == {
        f"{name}_step{step}.png" for name in ("batch", "second_view") for step in (2, 4)
    }
    events = EventAccumulator(str(folder / "tb"))
    events.Reload()
    curves = set(events.Tags()["scalars"])
    assert {
        "test/acc1",
        "test/acc5",
        "test/loss",
        "lr",
        "t_stddev",
        "train/loss",
        "train/div-mixKLD",
    } <= curves
    assert [event.step for event in events.Scalars("train/loss")] == [0, 2, 4]
    assert [event.value for event in events.Scalars("test/acc1")] == pytest.approx(
        [entry["acc1"] for entry in metrics(folder, "epoch")]
    )
    assert set(events.Tags()["images"]) == {"batch", "second_view"}


def test_head_of_the_log_lists_every_option(paper_teacher):
    folder = distil(paper_teacher, SCHEMES["cutmix"], "--epochs 1")
    host, where, command, _, listed = (folder / "log" / "log.txt").read_text().splitlines()[:5]
    assert host.startswith("hostname: ") and where == f"cd {os.getcwd()}" and "python " in command
    names = re.findall(r"\('([^']+)': ", listed)
    assert names == sorted(names, key=str.casefold)
    assert {
        "alpha",
        "amp",
        "lw_mix",
        "seed",
        "utils.check_ce_var",
        "mix_mode",
        "model_s",
        "path_t",
    } <= set(names)
    assert "('alpha': 0.9) ('amp': False) " in listed and "('seed': 7)" in listed


# --- Looking first --------------------------------------------------------------------------------


def test_dry_run_writes_nothing_and_says_what_would_be_done(paper_teacher, capsys):
    commands = (
        (STUDENT, PAPER, f"--path_t {paper_teacher[0]}", SCHEMES["cutmix"]),
        (STUDENT, PAPER, f"--path_t {paper_teacher[0]}", SCHEMES["cutmix"], PASS),
        (TEACHER, "--model resnet8"),
    )
    before = snapshot(".", paper_teacher[0].parents[3])
    for program, *words in commands:
        run(program, WORDS, "--dry_run", *words)
        out = capsys.readouterr().out
        assert (
            "nothing is written" in out
            and "44 training and 24 test images, 5 classes, 16x16 pixels" in out
        )
        networks = [
            line
            for line in out.splitlines()
            if re.search(r" \d+\.\d\d M parameters, \d+\.\d MFLOPs", line)
        ]
        assert len(networks) == (2 if "--mix_mode" in words[-1] else 1)
        assert ("240 epochs at learning rate 0.05" in out) == ("--fix_student" not in words[-1])
    for words, is_constant in (("20", True), ("200", False), ("20 --lr_schedule cosine", False)):
        run(TEACHER, "--model resnet8", WORDS, f"--dry_run --epochs {words}")
        assert ("never falls (--lr_decay_epochs" in capsys.readouterr().out) == is_constant
    assert snapshot(".", paper_teacher[0].parents[3]) == before


def test_list_names_everything(capsys):
    with pytest.raises(SystemExit) as stopped:
        run(STUDENT, "--lis --mix_mode cutmix")  # shortened, and whatever else is there
    assert not stopped.value.code
    out, err = capsys.readouterr()
    words = out.split()
    for registry in (model_dict, mix_modes, pick_criteria, distillers, datasets):
        assert set(registry) <= set(words)
    assert re.search(r"^  resnet56 +0\.86 M +251\.5 M$", out, re.MULTILINE)
    assert not err and not list(Path().iterdir())


# --- As a real process ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_process_on_a_pipe(paper_teacher):
    """Plain lines on stdout, no bar and no warning on stderr, the command in the head of the
    log."""
    words = [str(ROOT / STUDENT), *WORDS.split(), *PAPER.split(), *SCHEMES["cutmix"].split()]
    words += ["--path_t", str(paper_teacher[0]), "--epochs", "1", "--project", "kd"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "1"}
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=120, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    text = (the_run() / "log" / "log.txt").read_text()
    assert text.splitlines()[2] == f"CUDA_VISIBLE_DEVICES=1 python {' '.join(words)}".replace(
        "[1,0,1]", "'[1,0,1]'"
    )
    assert done.stdout == text.split("\n\n", 2)[2]
    in_process = distil(paper_teacher, SCHEMES["cutmix"], "--epochs 1")
    assert identical(
        *(load(path / "weights" / "ckpt.pth") for path in (the_run_called("kd_"), in_process))
    )


def the_run_called(start):
    (path,) = Path("Experiments").glob(f"{start}SERVER*")
    return path
