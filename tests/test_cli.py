"""The two scripts from the command line to the files they leave, on a tiny synthetic data set."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from places import ROOT
from command_line import (
    identical,
    load,
    log_lines,
    metrics,
    new_run,
    run,
    snapshot,
    the_run,
    without_clock,
)
from fast_runs import draw_once  # noqa: F401  (a fixture)

import helper.speed.bfloat16
from augment import PUBLISHED, mix_modes, pick_criteria
from dataset import DataRequest, datasets
from dataset.batches import Batches, DefaultDA
from distiller_zoo import distillers
from helper.loop import training
from helper.setup import networks
from helper.setup.machine import make_generators
from models import model_dict

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
TINY = (
    "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 44 --limit_test 24 "
    "--batch_size 16 "
    "--device cpu --seed 7"
)
"""Three steps an epoch, the last one of 12 images."""
STEPS = 3
PAPER = (
    "--distill kd --model_s resnet8 -r 0.1 -a 0.9 -b 0 --t_output_as_target_for_input_mix "
    "--lw_mix [1,0,1]"
)
PASS = "--learning_rate 0 --fix_student --utils.ON --utils.check_ce_var --epochs 4"
PICK = "--mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion"
SCHEMES = {mode: f"--mix_mode {mode}" for mode in PUBLISHED} | {
    f"cutmix_pick by {criterion}": f"{PICK} {criterion}"
    for criterion in ("student_entropy", "teacher_entropy")
}

N, ACCURACY = r"(\d+\.\d+)", r"(\d+\.\d{4})"
EPOCH_LINE = re.compile(
    rf"Acc1 {ACCURACY} Acc5 {ACCURACY} TestLoss (\d+\.\d{{6}}) Epoch (\d+) \(after update\) "
    r"lr (\S+) "
    rf"\(Best_Acc1 {ACCURACY} @ Epoch (\d+)\)"
)
STDDEV_LINE = re.compile(
    r"Check T prob: NumOfSampledStd (\d+) Epoch (\d+) Step (\d+) TotalStep (\d+) "
    r"MeanStd (nan|\d\.\d{6}) MeanEntropy (\d\.\d{6})"
)
STEP_LINE = re.compile(
    rf"Epoch: \[(\d+)\]\[(\d+)/(\d+)\] Time {N} \({N}\) Data {N} \({N}\) Loss {N} \({N}\) "
    rf"Acc@1 {N} \({N}\) "
    rf"Acc@5 {N} \({N}\) \| loss_cls\(\*0\.1\) {N} loss_div-oriKLD\(\*1\.0\) {N} "
    rf"loss_div-mixKLD\(\*1\.0\) {N}"
    rf" loss_div\(\*0\.9\) {N}"
)


RESUMABLE = ("ckpt.pth", "ckpt.previous.pth")


def weights_files(folder):
    return {path.name for path in (folder / "weights").iterdir()}


def matches(pattern, lines):
    return [found.groups() for found in map(pattern.fullmatch, lines) if found]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """(path of the weights, the teacher's own run folder); trained once."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(TEACHER, TINY, "--model resnet14 --epochs 2 --learning_rate 0.01")
        return (
            folder / "save" / "models" / "resnet14_vanilla" / "ckpt_epoch_2.pth",
            folder / the_run(),
        )


@pytest.fixture(scope="module")
def trained(teacher, tmp_path_factory):
    """The run folder of a student trained for 4 epochs, under cutmix, without interruption."""
    return train_uninterrupted(tmp_path_factory.mktemp("trained"), teacher, SCHEMES["cutmix"])


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def distil(teacher, *words):
    """A student's run with the tiny data and the paper's options; its folder."""
    return new_run(STUDENT, TINY, PAPER, f"--path_t {teacher[0]}", *words)


def train_uninterrupted(folder, teacher, scheme):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder / distil(
            teacher, scheme, "--epochs 4 --lr_decay_epochs 3 --utils.ON --utils.check_ce_var"
        )


def tiny_data():
    request = DataRequest(limit_train=44, limit_test=24, num_classes=5, img_size=16)
    return datasets["synthetic"].load(request)


# --- Teachers -------------------------------------------------------------------------------------


def test_teacher_lies_where_path_t_looks_for_it(teacher):
    path, its_run = teacher
    content = load(path)
    assert {"model", "epoch", "accuracy"} <= content.keys() and content["epoch"] == 2
    lines = log_lines(its_run)
    epochs = matches(EPOCH_LINE, lines)
    assert [epoch[3] for epoch in epochs] == ["1", "2"]
    assert f"{content['accuracy']:.4f}" == epochs[-1][0]
    assert any(
        line.startswith("teacher written: ") and "resnet14_vanilla" in line for line in lines
    )
    assert weights_files(its_run) == {*RESUMABLE, "resnet14_best.pth"}
    assert identical(load(its_run / "weights" / "ckpt.pth")["model"], content["model"])


def test_teacher_is_evaluated_as_when_it_was_trained(teacher):
    """Weights, data and evaluation survive the way through the file."""
    lines = log_lines(distil(teacher, SCHEMES["identity"], PASS, "--test_teacher"))
    acc1, acc5, loss, *_ = matches(EPOCH_LINE, log_lines(teacher[1]))[-1]
    assert f"Teacher Acc1 {acc1} Acc5 {acc5} TestLoss {loss}" in lines


@pytest.mark.parametrize("mode", ["autoaugment", "mixup", "cutmix"])
def test_teachers_can_be_trained_with_a_mix_mode(mode):
    run(TEACHER, TINY, f"--model resnet8 --epochs 1 --mix_mode {mode}")
    (trained,) = metrics(the_run(), "train")
    assert 0 < trained["loss"] < 5 and trained["cls"] == trained["loss"]
    assert Path("save/models/resnet8_vanilla/ckpt_epoch_1.pth").is_file()


def test_a_second_teacher_does_not_replace_the_first_unseen():
    for seed in (1, 2):
        run(TEACHER, TINY, f"--model resnet8 --epochs 1 --model_path here --seed {seed}")
    new, old = sorted(Path("here/resnet8_vanilla").iterdir(), key=lambda path: len(path.name))
    assert new.name == "ckpt_epoch_1.pth" and old.name.startswith("ckpt_epoch_1.from-")
    assert not identical(load(new)["model"], load(old)["model"])
    assert not Path("save").exists()


# --- Every scheme ---------------------------------------------------------------------------------


def test_schemes_are_all_there():
    """The paper's nine, and crop."""
    assert set(SCHEMES) >= {
        "identity",
        "flip",
        "crop",
        "crop+flip",
        "cutout",
        "autoaugment",
        "mixup",
        "cutmix",
    }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_student_trains(teacher, scheme):
    folder = distil(teacher, SCHEMES[scheme], "--epochs 1 --print_interval 1 --project kd__try")
    assert re.fullmatch(r"kd__try_SERVER\d{3}-\d{8}-\d{6}", folder.name)
    lines = log_lines(folder)
    assert any("second view: " + scheme in line for line in lines)
    assert not any("warning" in line for line in lines)

    steps = matches(STEP_LINE, lines)
    assert [step[:3] for step in steps] == [("1", str(index), str(STEPS)) for index in range(STEPS)]
    for step in steps:
        loss, cls, clean, view, div = (float(step[column]) for column in (7, 13, 14, 15, 16))
        assert (
            abs(loss - (0.1 * cls + 0.9 * (clean + view))) < 1e-4
            and abs(div - (clean + view)) < 3e-6
        )
    assert all(step[14] == step[15] for step in steps) == (scheme == "identity")

    ((acc1, acc5, loss, epoch, rate, best, best_epoch),) = matches(EPOCH_LINE, lines)
    assert (epoch, rate, best, best_epoch) == ("1", "0.05", acc1, "1")
    (entry,) = metrics(folder, "epoch")
    assert (f"{entry['acc1']:.4f}", f"{entry['acc5']:.4f}", f"{entry['test_loss']:.6f}") == (
        acc1,
        acc5,
        loss,
    )
    assert entry["lr"] == 0.05 and entry["epoch"] == 1 and entry["seconds"] > 0
    (entry,) = metrics(folder, "train")
    total = 0.1 * entry["cls"] + 0.9 * (entry["div-oriKLD"] + entry["div-mixKLD"])
    assert entry["loss"] == pytest.approx(total, rel=1e-5)
    assert weights_files(folder) == {*RESUMABLE, "resnet8_best.pth"}
    student = load(folder / "weights" / "ckpt.pth")["model"]
    assert student["bn1.num_batches_tracked"] == 2 * STEPS  # scoring a pool leaves no trace


@pytest.mark.parametrize("scheme", SCHEMES)
def test_t_stddev_is_measured(teacher, trained, monkeypatch, scheme):
    made, make = [], networks.new_model
    monkeypatch.setattr(
        networks, "new_model", lambda name, *rest: made.append(name) or make(name, *rest)
    )
    needs_student = scheme.endswith("student_entropy")
    finetune = f"--finetune_student {trained}/weights/ckpt.pth" if needs_student else ""
    folder = distil(teacher, SCHEMES[scheme], PASS, finetune)
    assert made == (["resnet8"] if needs_student else [])
    assert weights_files(folder) == set(RESUMABLE) and "model" not in load(
        folder / "weights" / "ckpt.pth"
    )

    lines = log_lines(folder)
    found = matches(STDDEV_LINE, lines)
    assert [row[:4] for row in found] == [
        ("1", "2", "1", "4"),
        ("2", "4", "0", "9"),
    ]  # steps 5 and 10
    assert found[0][4] == "nan" and 0 < float(found[1][4]) < 0.2 and 0 < float(found[1][5]) < 1.6095
    entries = metrics(folder, "t_stddev")
    assert len(entries) == 2 and entries[0]["t_stddev"] is None
    assert f"{entries[1]['t_stddev']:.6f}" == found[1][4]
    (summary,) = metrics(folder, "summary")
    assert summary["t_stddev"] == entries[1]["t_stddev"] and (
        summary["epochs"],
        summary["steps"],
    ) == (4, 12)
    assert any(
        line.startswith("Summary: resnet14 on synthetic, " + scheme + ": T. stddev ")
        for line in lines
    )
    assert not matches(EPOCH_LINE, lines) and not metrics(folder, "epoch")


def test_t_stddev_is_what_its_definition_says(teacher):
    """Identity from the files alone: the same batches, the teacher's probabilities, groups of five
    steps."""
    folder = distil(teacher, SCHEMES["identity"], PASS)
    data, model = tiny_data(), model_dict["resnet14"](num_classes=5, img_size=16)
    model.load_state_dict(load(teacher[0])["model"])
    model.eval()
    generator = make_generators(7)["data"]
    batches = Batches(
        data.train, data.spec, 16, generator=generator, default_da=DefaultDA(crop=True, flip=True)
    )
    with torch.no_grad():
        steps = [model(images).softmax(dim=1).double() for _ in range(4) for images, *_ in batches]
    groups = [torch.cat(steps[first : first + 5]).mean(dim=0) for first in (0, 5)]
    wanted = torch.stack(groups).std(dim=0, correction=1).mean().item()
    entropy = -(torch.cat(steps) * torch.cat(steps).log()).sum(dim=1).mean().item()
    (summary,) = metrics(folder, "summary")
    assert summary["t_stddev"] == pytest.approx(wanted, rel=1e-4)
    assert summary["entropy"] == pytest.approx(entropy, rel=1e-5)


def test_test_loss_is_that_of_the_saved_student(trained):
    data, model = tiny_data(), model_dict["resnet8"](num_classes=5, img_size=16)
    model.load_state_dict(load(trained / "weights" / "ckpt.pth")["model"])
    ((images, labels, _),) = Batches(data.test, data.spec, 500)
    with torch.no_grad():
        logits = model.eval()(images)
    entry = metrics(trained, "epoch")[-1]
    assert entry["test_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert entry["acc1"] == pytest.approx(
        100 * (logits.argmax(dim=1) == labels).float().mean().item()
    )
    assert entry["epoch"] == 4 and entry["acc5"] == 100


def test_best_weights_are_those_of_the_best_epoch(trained):
    best, entries = load(trained / "weights" / "resnet8_best.pth"), metrics(trained, "epoch")
    top = max(entry["acc1"] for entry in entries)
    first = next(entry["epoch"] for entry in entries if entry["acc1"] == top)
    assert (best["epoch"], best["accuracy"]) == (first, top)
    assert (entries[-1]["best_epoch"], entries[-1]["best_acc1"]) == (first, top)


# --- The same again -------------------------------------------------------------------------------


TIMES = re.compile(r"Time \S+ \(\S+\) Data \S+ \(\S+\)|\d+\.\d s\)|Experiments/\S+")


def outcome(folder):
    """All that a run says and writes, but for clocks and names: (checkpoint, log, metrics)."""
    lines = [TIMES.sub("", line) for line in log_lines(folder)]
    path = folder / "weights" / "ckpt.pth"
    return load(path) if path.exists() else None, lines, without_clock(metrics(folder))


def test_one_seed_one_result(teacher):
    """Whatever the global generator holds."""
    results = []
    for state in (1, 2):
        torch.manual_seed(state)
        results.append(
            outcome(distil(teacher, SCHEMES["cutmix_pick by student_entropy"], "--epochs 2"))
        )
    (weights, lines, numbers), (weights_2, lines_2, numbers_2) = results
    assert lines == lines_2 and numbers == numbers_2 and identical(weights, weights_2)
    assert len(lines) > 5 and len(numbers) == 5

    weights_3, _, numbers_3 = outcome(
        distil(teacher, SCHEMES["cutmix_pick by student_entropy"], "--epochs 2 --seed 8")
    )
    assert not identical(weights["model"], weights_3["model"])
    assert all(a != b for a, b in zip(numbers, numbers_3) if a["kind"] == "train")


def test_one_seed_one_t_stddev(teacher):
    first, again, other = (
        metrics(distil(teacher, SCHEMES["mixup"], PASS, f"--seed {seed}"), "t_stddev")
        for seed in (1, 1, 2)
    )
    assert first == again and first[1]["t_stddev"] != other[1]["t_stddev"]


def test_runs_that_differ_in_the_view_see_the_same_batches(teacher):
    """The first step's clean loss has nothing to do with the second view."""
    first = [
        matches(STEP_LINE, log_lines(distil(teacher, SCHEMES[scheme], "--epochs 1")))[0]
        for scheme in ("cutmix", "autoaugment")
    ]
    assert first[0][13:15] == first[1][13:15] and first[0][15] != first[1][15]


# --- Resuming -------------------------------------------------------------------------------------


LONG = "--lr_decay_epochs 3 --utils.ON --utils.check_ce_var"


def test_a_resumed_run_equals_the_uninterrupted_one(teacher, trained):
    folder = distil(teacher, SCHEMES["cutmix"], LONG, "--epochs 2")
    torch.manual_seed(99)
    words = (
        SCHEMES["cutmix"],
        LONG,
        f"--epochs 4 --resume_student {folder}/weights/ckpt.pth --seed 1",
    )
    run(STUDENT, TINY, PAPER, f"--path_t {teacher[0]}", *words)
    assert the_run() == folder
    assert identical(load(folder / "weights" / "ckpt.pth"), load(trained / "weights" / "ckpt.pth"))
    for kind in ("train", "epoch", "t_stddev"):
        assert without_clock(metrics(folder, kind)) == without_clock(metrics(trained, kind))
    assert [line for line in log_lines(folder) if line.startswith("resumed: ")]
    rates = [epoch[4] for epoch in matches(EPOCH_LINE, log_lines(folder))]
    assert rates == ["0.05", "0.05", "0.05", "0.005"]


def test_a_run_killed_in_an_epoch_resumes_at_its_start(teacher, tmp_path_factory, monkeypatch):
    """With picks by the student and the statistics of the teacher going on through the training."""
    scheme = SCHEMES["cutmix_pick by student_entropy"]
    wanted = train_uninterrupted(tmp_path_factory.mktemp("wanted"), teacher, scheme)
    evaluate, calls = training.evaluate, []

    def killed_in_epoch_3(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(training, "evaluate", killed_in_epoch_3)
        distil(teacher, scheme, LONG, "--epochs 4")
    assert stopped.value.code == 130
    assert load(the_run() / "weights" / "ckpt.pth")["epoch"] == 2
    run(
        STUDENT,
        TINY,
        PAPER,
        f"--path_t {teacher[0]}",
        scheme,
        LONG,
        "--epochs 4 --resume_ExpID latest",
    )
    assert identical(
        load(the_run() / "weights" / "ckpt.pth"), load(wanted / "weights" / "ckpt.pth")
    )
    got, wanted = (without_clock(metrics(folder, "epoch")) for folder in (the_run(), wanted))
    assert got == wanted and [entry["epoch"] for entry in got] == [1, 2, 3, 4]


def test_a_resumed_teacher_equals_the_uninterrupted_one():
    words = (TINY, "--model resnet8 --mix_mode mixup")
    run(TEACHER, *words, "--epochs 4 --model_path wanted --debug")
    run(TEACHER, *words, "--epochs 2")
    run(TEACHER, *words, f"--epochs 4 --resume {the_run()}/weights/ckpt.pth")
    got, wanted = (
        Path(root, "resnet8_vanilla/ckpt_epoch_4.pth") for root in ("save/models", "wanted")
    )
    assert identical(load(got), load(wanted))
    checkpoints = (
        the_run() / "weights" / "ckpt.pth",
        the_run("Debug_Dir") / "weights" / "ckpt.pth",
    )
    assert identical(*map(load, checkpoints))
    assert without_clock(metrics(the_run())) == without_clock(metrics(the_run("Debug_Dir")))


def test_resuming_a_finished_run_changes_nothing(teacher, trained):
    folder = distil(teacher, SCHEMES["identity"], "--epochs 1")
    before = (folder / "weights" / "ckpt.pth").read_bytes()
    run(STUDENT, TINY, PAPER, f"--path_t {teacher[0]}", SCHEMES["identity"],
        f"--epochs 1 --resume_ExpID {folder.name[-6:]}")  # fmt: skip
    assert (folder / "weights" / "ckpt.pth").read_bytes() == before
    assert len(metrics(folder, "epoch")) == 1


# --- Students as teachers, and weights to start from ----------------------------------------------


@pytest.mark.parametrize("name", ["ckpt.pth", "resnet8_best.pth"])
def test_a_student_can_teach(trained, name):
    path = trained / "weights" / name
    folder = new_run(STUDENT, TINY, PAPER, SCHEMES["flip"], PASS, f"--path_t {path}")
    assert any(line.startswith("teacher resnet8: ") for line in log_lines(folder))


@pytest.mark.parametrize("flag", ["--finetune_student", "--model_s_pretrained"])
def test_a_student_starts_from_given_weights(teacher, trained, flag):
    """At rate 0 and no decay it stays there, but for the BatchNorm statistics."""
    path = trained / "weights" / "ckpt.pth"
    folder = distil(teacher, SCHEMES["identity"], "--epochs 1 --learning_rate 0", f"{flag} {path}")
    got, wanted = load(folder / "weights" / "ckpt.pth")["model"], load(path)["model"]
    fixed = [key for key in wanted if "running" not in key and "num_batches" not in key]
    assert identical({key: got[key] for key in fixed}, {key: wanted[key] for key in fixed})
    assert got["bn1.num_batches_tracked"] == wanted["bn1.num_batches_tracked"] + 2 * STEPS


# --- What is asked for in vain, and said so -------------------------------------------------------


def test_check_ce_var_works_without_utils_on(teacher):
    folder = distil(teacher, SCHEMES["cutmix"], PASS.replace("--utils.ON", ""))
    warnings = [line for line in log_lines(folder) if "warning" in line]
    assert len(warnings) == 1 and "--utils.check_ce_var without --utils.ON" in warnings[0]
    assert len(metrics(folder, "t_stddev")) == 2
    usual = distil(teacher, SCHEMES["cutmix"], PASS)
    assert metrics(usual, "t_stddev") == metrics(folder, "t_stddev")
    assert not any("warning" in line for line in log_lines(usual))


def test_a_student_that_is_not_needed_is_not_read(teacher):
    """The published commands give one to every pass."""
    folder = distil(teacher, SCHEMES["identity"], PASS, "--finetune_student absent.pth")
    assert "--finetune_student is not read: this pass needs no student" in log_lines(folder)


def test_mix_mode_without_lw_mix_warns(teacher):
    words = (TINY, f"--path_t {teacher[0]} --epochs 1 --mix_mode cutmix -r 0.1")
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


def test_statistics_while_training_leave_the_training_alone(teacher, trained):
    plain = distil(teacher, SCHEMES["cutmix"], "--epochs 4 --lr_decay_epochs 3")
    assert identical(
        load(plain / "weights" / "ckpt.pth")["model"],
        load(trained / "weights" / "ckpt.pth")["model"],
    )
    assert len(matches(STDDEV_LINE, log_lines(trained))) == 2 and not matches(
        STDDEV_LINE, log_lines(plain)
    )


# --- Other flags ----------------------------------------------------------------------------------


def test_the_other_statistics(teacher, trained):
    student = f"--finetune_student {trained}/weights/ckpt.pth"
    folder = distil(
        teacher, SCHEMES["mixup"], PASS, student, "--utils.check_ce_var_v2 --utils.check_ce_var_v3"
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


def test_one_draw_per_image(teacher):
    results = {}
    for draw in ("batch", "sample"):
        folder = distil(teacher, SCHEMES["cutmix"], f"--epochs 1 --mix_draw {draw}")
        assert any(
            f"second view: cutmix, one draw per {draw}" in line for line in log_lines(folder)
        )
        (results[draw],) = metrics(folder, "train")
    assert results["batch"]["div-mixKLD"] != results["sample"]["div-mixKLD"]


def test_mixed_precision(teacher, monkeypatch):
    seconds = {torch.float32: 0.001, torch.bfloat16: 0.002}
    monkeypatch.setattr(helper.speed.bfloat16, "seconds_of_convolution", seconds.__getitem__)
    folder = distil(teacher, SCHEMES["cutmix"], "--epochs 1 --amp --limit_train 16")
    for expected in ("bfloat16 autocast", "warning: --amp: this CPU takes 2.0 times as long"):
        assert any(expected in line for line in log_lines(folder))
    (half,) = metrics(folder, "train")
    (full,) = metrics(distil(teacher, SCHEMES["cutmix"], "--epochs 1 --limit_train 16"), "train")
    assert half["loss"] != full["loss"] and half["loss"] == pytest.approx(full["loss"], rel=0.1)
    assert {value.dtype for value in load(folder / "weights" / "ckpt.pth")["model"].values()} == {
        torch.float32,
        torch.int64,
    }


def test_mixed_label_loss_has_its_weight(teacher):
    folder = distil(teacher, SCHEMES["cutmix"], "--epochs 1 --lw_mix [1,0.5,2]")
    (entry,) = metrics(folder, "train")
    div = entry["div-oriKLD"] + 0.5 * entry["div-mixCE"] + 2 * entry["div-mixKLD"]
    assert entry["loss"] == pytest.approx(0.1 * entry["cls"] + 0.9 * div, rel=1e-5)
    assert entry["div-mixCE"] > 1


def test_pictures_curves_and_extra_checkpoints(teacher):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = (
        "--epochs 2 --save_freq 2 --save_img_interval 2 --tb_freq 2 --debug --utils.check_ce_var"
    )
    run(STUDENT, TINY, PAPER, SCHEMES["cutmix"], f"--path_t {teacher[0]}", words)
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


def test_head_of_the_log_lists_every_option(teacher):
    folder = distil(teacher, SCHEMES["cutmix"], "--epochs 1")
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


def test_dry_run_writes_nothing_and_says_what_would_be_done(teacher, capsys):
    commands = (
        (STUDENT, PAPER, f"--path_t {teacher[0]}", SCHEMES["cutmix"]),
        (STUDENT, PAPER, f"--path_t {teacher[0]}", SCHEMES["cutmix"], PASS),
        (TEACHER, "--model resnet8"),
    )
    before = snapshot(".", teacher[0].parents[3])
    for program, *words in commands:
        run(program, TINY, "--dry_run", *words)
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
    assert snapshot(".", teacher[0].parents[3]) == before
    for words, is_constant in (("20", True), ("200", False), ("20 --lr_schedule cosine", False)):
        run(TEACHER, "--model resnet8", TINY, f"--dry_run --epochs {words}")
        assert ("never falls (--lr_decay_epochs" in capsys.readouterr().out) == is_constant


def test_list_names_everything(capsys):
    with pytest.raises(SystemExit) as stopped:
        run(STUDENT, "--lis --mix_mode cutmix")  # shortened, and whatever else is there
    assert not stopped.value.code
    out, err = capsys.readouterr()
    words = out.split()
    for registry in (model_dict, mix_modes, pick_criteria, distillers, datasets):
        assert set(registry) <= set(words)
    assert not err and not list(Path().iterdir())


# --- As a real process ----------------------------------------------------------------------------


def test_a_real_process_on_a_pipe(teacher):
    """Plain lines on stdout, no bar and no warning on stderr, the command in the head of the
    log."""
    words = [str(ROOT / STUDENT), *TINY.split(), *PAPER.split(), *SCHEMES["cutmix"].split()]
    words += ["--path_t", str(teacher[0]), "--epochs", "1", "--project", "kd"]
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
    in_process = distil(teacher, SCHEMES["cutmix"], "--epochs 1")
    assert identical(
        *(load(path / "weights" / "ckpt.pth") for path in (the_run_called("kd_"), in_process))
    )


def the_run_called(start):
    (path,) = Path("Experiments").glob(f"{start}SERVER*")
    return path
