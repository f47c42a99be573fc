"""Whole runs on two and three processes of one machine: the run of one process, whoever is told to
stop, dies or falls silent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from places import ROOT
from command_line import identical, load, log_lines, metrics, new_run, run, the_run, without_clock
from fake_images import write_imagenet
from fast_runs import draw_once  # noqa: F401  (a fixture)
from processes import STORES, end_stores, finish_all, said, start_all  # noqa: F401  (a fixture)

from helper.processes import distributed, heartbeat

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
TINY = (
    "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 44 --limit_test 24 "
    "--batch_size 16 --device cpu "
    "--seed 3 --print_interval 1"
)
KD = "--model_s resnet8 --lw_mix [1,0,1] --t_output_as_target_for_input_mix --sync_bn"
LINES = ("Epoch: [", "Acc1 ", "Check ", "Summary")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    root = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run(TEACHER, TINY, "--model resnet14 --epochs 1 --learning_rate 0.01")
    return root / "save" / "models" / "resnet14_vanilla" / "ckpt_epoch_1.pth"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def assert_close_runs(got, wanted):
    """Float32, so only near, and only for a few steps."""
    first, second = (load(path / "weights" / "ckpt.pth") for path in (got, wanted))
    assert first.keys() == second.keys() and first["epoch"] == second["epoch"]
    for name, value in second.get("model", {}).items():
        torch.testing.assert_close(first["model"][name], value, rtol=1e-3, atol=1e-3)
    for name, state in second["generators"].items():
        assert torch.equal(first["generators"][name], state)
    kinds = [
        [(entry["kind"], entry.get("epoch")) for entry in metrics(path)] for path in (got, wanted)
    ]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (2, "--distill kd --mix_mode cutmix --utils.check_ce_var --epochs 1"),
        (3, "--distill kd --mix_mode cutmix --utils.check_ce_var --epochs 1"),
        (3, "--distill crd --nce_k 7 -a 0.5 --mix_mode mixup --epochs 1"),
        (2, "--distill abound --init_epochs 1 --mix_mode flip --epochs 1"),
        (
            3,
            (
                "--mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion student_entropy "
                "--epochs 1"
            ),
        ),
    ],
)
def test_a_run_on_several_processes_is_one_run(tmp_path, teacher, size, words):
    words = f"{TINY} --path_t {teacher} {KD} {words} --learning_rate 0.001"
    whole = new_run(STUDENT, words, "--debug", root="Debug_Dir")
    statuses, errors = finish_all(STUDENT, words, tmp_path, size, tmp_path / "child")
    assert statuses == [0] * size and not errors
    assert_close_runs(the_run(), whole)
    assert f"{size} processes, " in log_lines(the_run())[0]
    assert not (tmp_path / "child1.out").read_text()
    run(STUDENT, words, "--epochs 2 --resume_ExpID latest")  # alone
    assert metrics(the_run(), "epoch")[-1]["epoch"] == 2


@pytest.mark.parametrize(
    "scheme", ["autoaugment", "cutmix_pick --mix_n_run 2 --cutmix_pick_criterion teacher_entropy"]
)
def test_a_pass_on_several_processes_gives_the_value_of_one(tmp_path, teacher, scheme):
    words = (
        f"{TINY} --path_t {teacher} --lw_mix [1,0,1] --learning_rate 0 --fix_student "
        f"--utils.check_ce_var --epochs 4 --mix_mode {scheme}"
    )
    whole = new_run(STUDENT, words, "--debug", root="Debug_Dir")
    statuses, errors = finish_all(STUDENT, words, tmp_path, 2, tmp_path / "child")
    assert statuses == [0, 0] and not errors
    (got,), (wanted,) = (metrics(path, "summary") for path in (the_run(), whole))
    assert got["t_stddev"] == pytest.approx(wanted["t_stddev"], rel=1e-6)  # float32 logits
    assert got["entropy"] == pytest.approx(wanted["entropy"], rel=1e-6)


def test_resumed_on_another_number_of_processes(tmp_path, teacher):
    """Three, then one, then two."""
    words = (
        f"{TINY} --path_t {teacher} {KD} --distill crd --nce_k 7 --mix_mode cutmix "
        "--learning_rate 0.001 --utils.check_ce_var"
    )
    whole = new_run(STUDENT, words, "--epochs 3 --debug", root="Debug_Dir")
    for epochs, size in ((1, 3), (2, 1), (3, 2)):
        resume = "--resume_ExpID latest" if epochs > 1 else ""
        statuses, errors = finish_all(
            STUDENT, f"{words} --epochs {epochs} {resume}", tmp_path, size, tmp_path / "child"
        )
        assert statuses == [0] * size and not errors
    assert_close_runs_but_jobs(the_run(), whole)


def assert_close_runs_but_jobs(got, wanted):
    first, second = (
        [
            entry
            for entry in without_clock(metrics(path))
            if entry["kind"] in ("epoch", "train", "t_stddev")
        ]
        for path in (got, wanted)
    )
    assert [entry["kind"] for entry in first] == [entry["kind"] for entry in second]
    for one, other in zip(first, second):
        assert one.keys() == other.keys()
        for name, value in other.items():
            near = pytest.approx(value, rel=1e-3, abs=1e-3) if isinstance(value, float) else value
            assert one[name] == near, (name, one)


def test_a_signal_to_one_stops_all_at_one_step(tmp_path, teacher):
    words = (
        f"{TINY.replace('44', '600')} --path_t {teacher} {KD} --distill kd --mix_mode cutmix "
        "--epochs 1"
    )
    children = start_all(STUDENT, words, tmp_path, 2, tmp_path / "child")
    end = time.monotonic() + 60
    while "Epoch: [1][5/" not in children[0].stdout:
        assert time.monotonic() < end
        time.sleep(0.02)
    for child in (
        children[1],
        children[1],
        children[0],
    ):  # as if torchrun passed on what Slurm told all
        child.kill(signal.SIGTERM)
    assert [child.wait(60) for child in children] == [143, 143]
    assert said(children) == [f"{STUDENT}: interrupted"]
    checkpoint = load(the_run() / "weights" / "ckpt.pth")
    assert checkpoint["step"] > 5
    statuses, errors = finish_all(
        STUDENT, f"{words} --resume_ExpID latest", tmp_path, 2, tmp_path / "child"
    )
    assert statuses == [0] * 2 and not errors
    steps = [
        int(line.split("][")[1].split("/")[0])
        for line in log_lines(the_run())
        if line.startswith("Epoch: [")
    ]
    assert steps == list(range(38))


@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_process_ends_the_others(tmp_path, teacher, victim):
    words = (
        f"{TINY.replace('44', '600')} --path_t {teacher} {KD} --distill kd --mix_mode cutmix "
        "--epochs 2"
    )
    children = start_all(STUDENT, words, tmp_path, 2, tmp_path / "child")
    end = time.monotonic() + 60
    while "Epoch: [1][5/" not in children[0].stdout:
        assert time.monotonic() < end
        time.sleep(0.02)
    children[victim].kill(signal.SIGKILL)
    assert children[victim].wait() == -signal.SIGKILL
    assert children[1 - victim].wait(60) == 1
    (line,) = said(children)
    assert "lost contact with another process of the run" in line
    assert ("] stopped: lost contact" in (the_run() / "log" / "log.txt").read_text()) == (
        victim == 1
    )
    statuses, errors = finish_all(
        STUDENT,
        f"{words} --resume_ExpID latest --epochs 1".replace("--epochs 2", ""),
        tmp_path,
        1,
        tmp_path / "child",
    )
    assert statuses == [0], errors


@pytest.mark.parametrize("victim", ["process 0", "process 2", "store"])
def test_silence_ends_a_run(tmp_path, teacher, monkeypatch, victim):
    """Nothing tells of a machine that is off, or of a cut cable.

    Here it is stopped, which closes no connection.
    """
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(heartbeat, "SILENT_BEATS", 10)
    monkeypatch.setattr(heartbeat, "STORE_SECONDS", 2.0)
    monkeypatch.setattr(distributed, "LAST_SECONDS", 1.0)
    words = (
        f"{TINY.replace('44', '2000')} --path_t {teacher} {KD} --distill kd --mix_mode cutmix "
        "--epochs 9"
    )
    children = start_all(STUDENT, words, tmp_path, 3, tmp_path / "child")
    end = time.monotonic() + 60
    while "Epoch: [1][5/" not in children[0].stdout:
        assert time.monotonic() < end
        time.sleep(0.02)
    lost = STORES[-1] if victim == "store" else children[int(victim[-1])]
    lost.kill(signal.SIGSTOP)
    others = [child for child in children if child is not lost]
    assert [child.wait(30) for child in others] == [1] * len(others)
    lost.kill(signal.SIGKILL)
    lines = said(others)
    if victim == "store":  # which tells them who is to speak
        assert lines and all(
            "(the store that torchrun keeps for the run does not answer)" in line for line in lines
        )
        return
    (line,) = lines
    assert f"lost contact with another process of the run ({victim} was silent" in line
    if lost is not children[0]:
        assert log_lines(the_run())[-1].startswith("stopped: lost contact with another process")


def test_beats_that_go_on_end_nothing(monkeypatch):
    """Of two processes here; the second one's beats stop in the end."""
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)
    store, lost = dist.HashStore(), []
    hearts = [heartbeat.Heartbeat(store, rank, 2, lost.append) for rank in range(2)]
    for heart in hearts:
        heart.start()
    time.sleep(0.5)
    assert not lost and all(heart.is_alive() for heart in hearts)
    hearts[1].stop()
    hearts[0].join(10)
    assert len(lost) == 1 and "process 1 was silent" in lost[0]


@pytest.mark.parametrize(
    ("words", "status", "fragment"),
    [
        ("--mix_mode nothing", 2, "unknown mix mode 'nothing'"),
        ("--path_t none.pth", 2, "--path_t none.pth does not exist"),
        ("--resume_ExpID nobody", 2, "no run of that name"),
    ],
)
def test_one_message_for_all(tmp_path, teacher, words, status, fragment):
    good = f"{TINY} --path_t {teacher} {KD} --distill kd --mix_mode flip --epochs 1"
    statuses, errors = finish_all(STUDENT, f"{good} {words}", tmp_path, 3, tmp_path / "child")
    assert len(errors) == 1 and fragment in errors[0]
    assert status in statuses and not any(code == 0 for code in statuses)
    assert not (tmp_path / "Experiments").exists()


def test_streamed_images_are_decoded_once_and_seen_by_all(tmp_path):
    """Images are mixed with others that another process decoded."""
    write_imagenet(tmp_path / "data", train=1)
    words = (
        "--dataset imagenet100 --data_root data --limit_train 9 --limit_test 5 --batch_size "
        "4 --model resnet18 --epochs 1 "
        "--device cpu --seed 3 --num_workers 0 --mix_mode cutmix --sync_bn --learning_rate "
        "0.0001 --model_path"
    )
    whole = new_run(TEACHER, words, "whole --debug", root="Debug_Dir")
    statuses, errors = finish_all(TEACHER, f"{words} part", tmp_path, 2, tmp_path / "child")
    assert statuses == [0, 0] and not errors
    assert_close_runs(the_run(), whole)
    assert Path("part/resnet18_vanilla/ckpt_epoch_1.pth").exists()


def test_torchrun_starts_it_and_its_restart_goes_on(tmp_path):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone",
        "--max_restarts", "1", str(ROOT / TEACHER), *TINY.replace("44", "400").split(), "--model",
        "resnet8", "--epochs", "3",
    ]  # fmt: skip
    said, pid = [], None
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=open("err.txt", "w"), text=True
    ) as torchrun:
        for line in torchrun.stdout:
            said.append(line)
            if " Epoch: [2][5/" in line and pid is None:
                pid = int(line.split()[1])
                os.kill(pid, signal.SIGKILL)
    assert torchrun.returncode == 0
    assert "2 processes, " in "".join(said) and "".join(said).count("done, see ") == 1
    assert Path("save/models/resnet8_vanilla/ckpt_epoch_3.pth").exists()
    assert [entry["epoch"] for entry in metrics(the_run(), "epoch")] == [1, 2, 3]
    assert len([line for line in log_lines(the_run()) if line.startswith("resumed: ")]) == 1


def test_one_process_of_torchrun_is_a_plain_run(tmp_path):
    words = f"{TINY} --model resnet8 --epochs 1"
    whole = new_run(TEACHER, words, "--debug", root="Debug_Dir")
    statuses, _ = finish_all(TEACHER, words, tmp_path, 1, tmp_path / "child")
    assert statuses == [0]
    assert identical(*(load(path / "weights" / "ckpt.pth") for path in (the_run(), whole)))


@pytest.mark.parametrize(
    "names, expected", [(["a 0", "a 1", "b 0"], True), (["a 0", "b 0", "a 0"], False)]
)
def test_nccl_is_for_processes_that_each_have_a_gpu(names, expected):
    store = dist.HashStore()
    for rank, name in enumerate(names[:-1]):
        store.set(f"gpu {rank}", name)
    assert distributed.all_differ(names[-1], store, len(names) - 1, len(names)) == expected
