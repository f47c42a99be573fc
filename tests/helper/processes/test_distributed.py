"""Whole runs on two and three processes of one machine: the run of one process, whoever is told to
stop, dies or falls silent."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from command_line import (
    TINY,
    identical,
    load,
    log_lines,
    metrics,
    new_run,
    run,
    the_run,
    without_clock,
)
from fake_images import write_folder
from forked import finish
from processes import STORES, end_stores, finish_all, own_lines, start_all  # noqa: F401  (a fixture)
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import train_teacher
from helper.errors import one_line_errors
from helper.processes import distributed, heartbeat, interruption
from helper.processes.interruption import listening

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("empty_folder")]
WORDS = f"{TINY} --seed 3 --print_interval 1"
KD = "--model_s resnet8 --lw_mix [1,0,1] --t_output_as_target_for_input_mix --sync_bn"
CUTMIX = f"{KD} --distill kd --mix_mode cutmix"


def at_place(number, action):
    """Called in a process of a run: `action()` at the `number`-th place that answers signals."""
    real, count = interruption.check, 0

    def check():
        nonlocal count
        count += 1
        if count == number:
            action()
        real()

    interruption.check = check


def signalled(rank, *numbers, place):
    """For `start_all`: the process `rank` sends itself signals."""

    def send():
        for number in numbers:
            os.kill(os.getpid(), number)

    return lambda own: own == rank and at_place(place, send)


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
        (3, "--distill kd --mix_mode cutmix --utils.check_ce_var --epochs 1"),
        (2, "--distill abound --init_epochs 1 --mix_mode flip --epochs 1"),
    ],
)
def test_a_run_on_several_processes_is_one_run(tmp_path, tiny_teacher, size, words):
    words = f"{WORDS} --path_t {tiny_teacher} {KD} {words} --learning_rate 0.001"
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
def test_a_pass_on_several_processes_gives_the_value_of_one(tmp_path, tiny_teacher, scheme):
    words = (
        f"{WORDS} --path_t {tiny_teacher} --lw_mix [1,0,1] --learning_rate 0 --fix_student "
        f"--utils.check_ce_var --epochs 4 --mix_mode {scheme}"
    )
    whole = new_run(STUDENT, words, "--debug", root="Debug_Dir")
    statuses, errors = finish_all(STUDENT, words, tmp_path, 2, tmp_path / "child")
    assert statuses == [0, 0] and not errors
    (got,), (wanted,) = (metrics(path, "summary") for path in (the_run(), whole))
    assert got["t_stddev"] == pytest.approx(wanted["t_stddev"], rel=1e-6)  # float32 logits
    assert got["entropy"] == pytest.approx(wanted["entropy"], rel=1e-6)


def test_resumed_on_another_number_of_processes(tmp_path, tiny_teacher):
    """Three, then one, then two."""
    words = (
        f"{WORDS} --path_t {tiny_teacher} {KD} --distill crd --nce_k 7 --mix_mode cutmix "
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


def test_a_signal_to_one_stops_all_at_one_step(tmp_path, tiny_teacher, monkeypatch):
    """It comes twice, as if torchrun passed on what Slurm told all."""
    monkeypatch.setattr(distributed, "CHECKS", 4)
    words = f"{WORDS.replace('44', '96')} --path_t {tiny_teacher} {CUTMIX} --epochs 1"
    told = signalled(1, signal.SIGTERM, signal.SIGTERM, place=2)
    children = start_all(STUDENT, words, tmp_path, 2, tmp_path / "child", prepare=told)
    assert [child.wait() for child in children] == [143, 143]
    assert own_lines(children) == [f"{STUDENT}: interrupted"]
    assert load(the_run() / "weights" / "ckpt.pth")["step"] == 3  # at the fourth place
    statuses, errors = finish_all(
        STUDENT, f"{words} --resume_ExpID latest", tmp_path, 2, tmp_path / "child"
    )
    assert statuses == [0] * 2 and not errors
    steps = [
        int(line.split("][")[1].split("/")[0])
        for line in log_lines(the_run())
        if line.startswith("Epoch: [")
    ]
    assert steps == list(range(6))


@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_process_ends_the_others(tmp_path, tiny_teacher, victim):
    words = f"{WORDS} --path_t {tiny_teacher} {CUTMIX} --epochs 2"
    killed = signalled(victim, signal.SIGKILL, place=6)
    children = start_all(STUDENT, words, tmp_path, 2, tmp_path / "child", prepare=killed)
    assert children[victim].wait() == -signal.SIGKILL
    assert children[1 - victim].wait() == 1
    (line,) = own_lines(children)
    assert "lost contact with another process of the run" in line
    logged = "] stopped: lost contact" in (the_run() / "log" / "log.txt").read_text()
    assert logged == (victim == 1)
    run(STUDENT, f"{words} --resume_ExpID latest")


@pytest.mark.parametrize("victim", ["process 0", "process 2", "store"])
def test_silence_ends_a_run(tmp_path, tiny_teacher, monkeypatch, victim):
    """Nothing tells of a machine that is off, or of a cut cable.

    Here it is stopped, which closes no connection.
    """
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(heartbeat, "SILENT_BEATS", 10)
    monkeypatch.setattr(heartbeat, "STORE_SECONDS", 2.0)
    monkeypatch.setattr(distributed, "LAST_SECONDS", 1.0)

    def stop_one(rank):
        if victim == "store" and rank == 0:
            at_place(4, lambda: os.kill(STORES[-1].pid, signal.SIGSTOP))
        elif victim == f"process {rank}":
            at_place(4, lambda: os.kill(os.getpid(), signal.SIGSTOP))
        elif victim == "store":
            at_place(5, signal.pause)

    words = f"{WORDS} --path_t {tiny_teacher} {CUTMIX} --epochs 1"
    children = start_all(STUDENT, words, tmp_path, 3, tmp_path / "child", prepare=stop_one)
    lost = STORES[-1] if victim == "store" else children[int(victim[-1])]
    others = [child for child in children if child is not lost]
    assert [child.wait() for child in others] == [1] * len(others)
    lost.kill(signal.SIGKILL)
    lines = own_lines(others)
    if victim == "store":  # which tells them who is to speak
        assert lines and all(f"({heartbeat.SILENT_STORE})" in line for line in lines)
        return
    (line,) = lines
    assert f"lost contact with another process of the run ({victim} was silent" in line
    if lost is not children[0]:
        assert log_lines(the_run())[-1].startswith("stopped: lost contact with another process")


def test_beats_that_go_on_end_nothing(monkeypatch):
    """Two processes beat here; the second one stops in the end."""
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
def test_one_message_for_all(tmp_path, tiny_teacher, words, status, fragment):
    good = f"{WORDS} --path_t {tiny_teacher} {KD} --distill kd --mix_mode flip --epochs 1"
    statuses, errors = finish_all(STUDENT, f"{good} {words}", tmp_path, 3, tmp_path / "child")
    assert len(errors) == 1 and fragment in errors[0]
    assert status in statuses and not any(code == 0 for code in statuses)
    assert not (tmp_path / "Experiments").exists()


def test_streamed_images_are_decoded_once_and_seen_by_all(tmp_path):
    """Images are mixed with others that another process decoded."""
    write_folder(tmp_path / "data", train=3, test=2)
    words = (
        "--dataset folder --images stream --data_root data --img_size 16 --batch_size 4 "
        "--model resnet8 --epochs 1 --device cpu --seed 3 --num_workers 0 --mix_mode cutmix "
        "--sync_bn --learning_rate 0.0001 --model_path"
    )
    whole = new_run(TEACHER, words, "whole --debug", root="Debug_Dir")
    statuses, errors = finish_all(TEACHER, f"{words} part", tmp_path, 2, tmp_path / "child")
    assert statuses == [0, 0] and not errors
    assert_close_runs(the_run(), whole)
    assert Path("part/resnet8_vanilla/ckpt_epoch_1.pth").exists()


def torchrun(words):
    """`torchrun --nproc_per_node 2 --max_restarts 1`, its processes forks of this one.

    In its second epoch the first attempt loses a process.
    """
    config = LaunchConfig(
        1, 1, 2, max_restarts=1, start_method="fork", rdzv_backend="c10d", rdzv_endpoint="[::1]:0"
    )
    elastic_launch(config, worker)(words)


def worker(words):
    """A process of torchrun runs `__main__` of the script."""
    if (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]) == ("1", "0"):
        at_place(9, lambda: os.kill(os.getpid(), signal.SIGKILL))
    with one_line_errors(TEACHER), listening(), distributed.session():
        train_teacher.main(words)


def test_torchrun_starts_it_and_its_restart_goes_on(tmp_path):
    words = f"{WORDS} --model resnet8 --epochs 3"
    status, out, errors = finish(torchrun, words, tmp_path, output=tmp_path / "child")
    assert status == 0, errors
    assert "2 processes, " in out and out.count("done, see ") == 1
    assert Path("save/models/resnet8_vanilla/ckpt_epoch_3.pth").exists()
    assert [entry["epoch"] for entry in metrics(the_run(), "epoch")] == [1, 2, 3]
    assert len([line for line in log_lines(the_run()) if line.startswith("resumed: ")]) == 1


def test_one_process_of_torchrun_is_a_plain_run(tmp_path):
    words = f"{WORDS} --model resnet8 --epochs 1"
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
