"""The two scripts from the command line to the files they leave, on a tiny synthetic data set."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from command_line import (
    identical,
    load,
    log_lines,
    metrics,
    new_run,
    run,
    the_run,
    without_clock,
)
from paper_runs import (
    EPOCH_LINE,
    PAPER,
    PASS,
    RESUMABLE,
    SCHEMES,
    STDDEV_LINE,
    STEP_LINE,
    STEPS,
    STUDENT,
    TEACHER,
    WORDS,
    distil,
    matches,
    weights_files,
)

from dataset import DataRequest, datasets
from dataset.batches import Batches, DefaultDA
from helper.setup import networks
from helper.setup.machine import make_generators
from models import model_dict

pytestmark = pytest.mark.usefixtures("empty_folder")


def tiny_data():
    request = DataRequest(limit_train=44, limit_test=24, num_classes=5, img_size=16)
    return datasets["synthetic"].load(request)


# --- Teachers -------------------------------------------------------------------------------------


def test_teacher_lies_where_path_t_looks_for_it(paper_teacher):
    path, its_run = paper_teacher
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


def test_teacher_is_evaluated_as_when_it_was_trained(paper_teacher):
    """Weights, data and evaluation survive the way through the file."""
    lines = log_lines(distil(paper_teacher, SCHEMES["identity"], PASS, "--test_teacher"))
    acc1, acc5, loss, *_ = matches(EPOCH_LINE, log_lines(paper_teacher[1]))[-1]
    assert f"Teacher Acc1 {acc1} Acc5 {acc5} TestLoss {loss}" in lines


@pytest.mark.parametrize("mode", ["autoaugment", "cutmix"])
def test_teachers_can_be_trained_with_a_mix_mode(mode):
    run(TEACHER, WORDS, f"--model resnet8 --epochs 1 --mix_mode {mode}")
    (trained,) = metrics(the_run(), "train")
    assert 0 < trained["loss"] < 5 and trained["cls"] == trained["loss"]
    assert Path("save/models/resnet8_vanilla/ckpt_epoch_1.pth").is_file()


def test_a_second_teacher_does_not_replace_the_first_unseen():
    for seed in (1, 2):
        run(TEACHER, WORDS, f"--model resnet8 --epochs 1 --model_path here --seed {seed}")
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
def test_a_student_trains(paper_teacher, scheme):
    folder = distil(
        paper_teacher, SCHEMES[scheme], "--epochs 1 --print_interval 1 --project kd__try"
    )
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


@pytest.mark.parametrize("scheme", [*list(SCHEMES)[-3:], "identity"])
def test_t_stddev_is_measured(paper_teacher, trained, monkeypatch, scheme):
    made, make = [], networks.new_model
    monkeypatch.setattr(
        networks, "new_model", lambda name, *rest: made.append(name) or make(name, *rest)
    )
    needs_student = scheme.endswith("student_entropy")
    finetune = f"--finetune_student {trained}/weights/ckpt.pth" if needs_student else ""
    folder = distil(paper_teacher, SCHEMES[scheme], PASS, finetune)
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


def test_t_stddev_is_what_its_definition_says(paper_teacher):
    """Identity from the files alone: the same batches, the teacher's probabilities, groups of five
    steps."""
    folder = distil(paper_teacher, SCHEMES["identity"], PASS)
    data, model = tiny_data(), model_dict["resnet14"](num_classes=5, img_size=16)
    model.load_state_dict(load(paper_teacher[0])["model"])
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


def test_one_seed_one_result(paper_teacher):
    """Whatever the global generator holds."""
    results = []
    for state in (1, 2):
        torch.manual_seed(state)
        results.append(
            outcome(distil(paper_teacher, SCHEMES["cutmix_pick by student_entropy"], "--epochs 2"))
        )
    (weights, lines, numbers), (weights_2, lines_2, numbers_2) = results
    assert lines == lines_2 and numbers == numbers_2 and identical(weights, weights_2)
    assert len(lines) > 5 and len(numbers) == 5

    weights_3, _, numbers_3 = outcome(
        distil(paper_teacher, SCHEMES["cutmix_pick by student_entropy"], "--epochs 2 --seed 8")
    )
    assert not identical(weights["model"], weights_3["model"])
    assert all(a != b for a, b in zip(numbers, numbers_3) if a["kind"] == "train")


def test_one_seed_one_t_stddev(paper_teacher):
    first, again, other = (
        metrics(distil(paper_teacher, SCHEMES["mixup"], PASS, f"--seed {seed}"), "t_stddev")
        for seed in (1, 1, 2)
    )
    assert first == again and first[1]["t_stddev"] != other[1]["t_stddev"]


def test_runs_that_differ_in_the_view_see_the_same_batches(paper_teacher):
    """The first step's clean loss has nothing to do with the second view."""
    first = [
        matches(STEP_LINE, log_lines(distil(paper_teacher, SCHEMES[scheme], "--epochs 1")))[0]
        for scheme in ("cutmix", "autoaugment")
    ]
    assert first[0][13:15] == first[1][13:15] and first[0][15] != first[1][15]


# --- Resuming -------------------------------------------------------------------------------------


LONG = "--lr_decay_epochs 3 --utils.ON --utils.check_ce_var"


def test_a_resumed_run_equals_the_uninterrupted_one(paper_teacher, trained):
    folder = distil(paper_teacher, SCHEMES["cutmix"], LONG, "--epochs 2")
    torch.manual_seed(99)
    words = (
        SCHEMES["cutmix"],
        LONG,
        f"--epochs 4 --resume_student {folder}/weights/ckpt.pth --seed 1",
    )
    run(STUDENT, WORDS, PAPER, f"--path_t {paper_teacher[0]}", *words)
    assert the_run() == folder
    assert identical(load(folder / "weights" / "ckpt.pth"), load(trained / "weights" / "ckpt.pth"))
    for kind in ("train", "epoch", "t_stddev"):
        assert without_clock(metrics(folder, kind)) == without_clock(metrics(trained, kind))
    assert [line for line in log_lines(folder) if line.startswith("resumed: ")]
    rates = [epoch[4] for epoch in matches(EPOCH_LINE, log_lines(folder))]
    assert rates == ["0.05", "0.05", "0.05", "0.005"]


def test_a_resumed_teacher_equals_the_uninterrupted_one():
    words = (WORDS, "--model resnet8 --mix_mode mixup")
    run(TEACHER, *words, "--epochs 2 --model_path wanted --debug")
    run(TEACHER, *words, "--epochs 1")
    run(TEACHER, *words, f"--epochs 2 --resume {the_run()}/weights/ckpt.pth")
    files = (Path(root, "resnet8_vanilla/ckpt_epoch_2.pth") for root in ("save/models", "wanted"))
    assert identical(*map(load, files))
    runs = (the_run(), the_run("Debug_Dir"))
    assert identical(*(load(path / "weights" / "ckpt.pth") for path in runs))
    assert without_clock(metrics(runs[0])) == without_clock(metrics(runs[1]))


def test_resuming_a_finished_run_changes_nothing(paper_teacher, trained):
    folder = distil(paper_teacher, SCHEMES["identity"], "--epochs 1")
    before = (folder / "weights" / "ckpt.pth").read_bytes()
    run(STUDENT, WORDS, PAPER, f"--path_t {paper_teacher[0]}", SCHEMES["identity"],
        f"--epochs 1 --resume_ExpID {folder.name[-6:]}")  # fmt: skip
    assert (folder / "weights" / "ckpt.pth").read_bytes() == before
    assert len(metrics(folder, "epoch")) == 1


# --- Students as teachers, and weights to start from ----------------------------------------------


@pytest.mark.parametrize("name", ["ckpt.pth", "resnet8_best.pth"])
def test_a_student_can_teach(trained, name):
    path = trained / "weights" / name
    folder = new_run(STUDENT, WORDS, PAPER, SCHEMES["flip"], PASS, f"--path_t {path}")
    assert any(line.startswith("teacher resnet8: ") for line in log_lines(folder))


@pytest.mark.parametrize("flag", ["--finetune_student", "--model_s_pretrained"])
def test_a_student_starts_from_given_weights(paper_teacher, trained, flag):
    """At rate 0 and no decay it stays there, but for the BatchNorm statistics."""
    path = trained / "weights" / "ckpt.pth"
    folder = distil(
        paper_teacher, SCHEMES["identity"], "--epochs 1 --learning_rate 0", f"{flag} {path}"
    )
    got, wanted = load(folder / "weights" / "ckpt.pth")["model"], load(path)["model"]
    fixed = [key for key in wanted if "running" not in key and "num_batches" not in key]
    assert identical({key: got[key] for key in fixed}, {key: wanted[key] for key in fixed})
    assert got["bn1.num_batches_tracked"] == wanted["bn1.num_batches_tracked"] + 2 * STEPS
