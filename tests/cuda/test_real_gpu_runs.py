"""Whole commands on a real GPU: the same numbers again, resumed, and on the other device; what
happens without memory and with several processes. Without a GPU they are skipped."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import identical, load, log_lines, metrics, new_run, run, the_run, without_clock
from gpu_loops import CLASSES, TWO_VIEWS, stopped_after, write_network
from places import ROOT
from real_gpu import DEVICE, ON_REAL_GPU, differences, write_sharp_network

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
pytestmark = ON_REAL_GPU
DATA = f"--dataset synthetic --num_classes {CLASSES} --img_size 16 --limit_test 24"
TINY = f"{DATA} --limit_train 44 --batch_size 16 --seed 1"
"""Three steps an epoch, the last one of 12 images."""
VIEW = f"{TWO_VIEWS} --mix_mode cutmix --model_s resnet8"
STATE = ("model", "optimizer", "meter", "extra", "generators", "head")
PICK = "--mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion student_entropy"
COMMANDS = {
    "kd": f"{VIEW} --distill kd",
    "amp": f"{VIEW} --distill kd --amp",
    "pick": f"{TWO_VIEWS} {PICK} --model_s resnet8 --distill kd",
    "crd": f"{VIEW} --distill kd+crd --nce_k 8",
    "review": f"{VIEW} --distill kd+review",
    "dkd": f"{VIEW} --distill dkd+hint --feature_views both --init_epochs 1",
    "factor": f"{VIEW} --distill factor --init_epochs 1",
    "autoaugment": f"{TWO_VIEWS} --mix_mode autoaugment --model_s vgg8 --distill kd",
}


def words_of(name, device=DEVICE):
    teacher = write_network(Path(), "vgg13" if "vgg8" in COMMANDS[name] else "resnet14")
    return f"--path_t {teacher.resolve()} {TINY} {COMMANDS[name]} --device {device}"


def checkpoint(path):
    return load(path / "weights" / "ckpt.pth")


def unequal(one, other):
    """The parts of two checkpoints that are not equal bit for bit."""
    parts = [part for part in STATE if part in one]
    assert "model" in parts
    return [part for part in parts if not identical(one[part], other[part])]


def tensors_in(value):
    if isinstance(value, dict):
        return [tensor for one in value.values() for tensor in tensors_in(one)]
    if isinstance(value, (list, tuple)):
        return [tensor for one in value for tensor in tensors_in(one)]
    return [value] if torch.is_tensor(value) else []


def script(name, *words, **variables):
    """`python scripts/...` in a process of its own."""
    parts = [part for word in words for part in str(word).split()]
    return subprocess.run(
        [sys.executable, ROOT / name, *parts],
        env=os.environ | variables, capture_output=True, text=True, timeout=110,
    )  # fmt: skip


# --- The same numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_a_seed_fixes_everything(name):
    runs = [new_run(STUDENT, words_of(name), "--epochs 2") for _ in range(2)]
    assert not unequal(*map(checkpoint, runs))
    one, other = (without_clock(metrics(path)) for path in runs)
    assert one == other


@pytest.mark.parametrize("words", ["", "--mix_mode mixup", "--amp --label_smoothing 0.1"])
def test_a_seed_fixes_a_teacher(words):
    words = f"{TINY} --model resnet8 --epochs 2 --device {DEVICE} {words}"
    runs = [new_run(TEACHER, words, f"--trial {trial}") for trial in (1, 2)]
    assert not unequal(*map(checkpoint, runs))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_resumed_run_equals_the_whole_one(name, monkeypatch):
    words = f"{words_of(name)} --epochs 3"
    whole = checkpoint(new_run(STUDENT, words))
    Path("other").mkdir()
    monkeypatch.chdir("other")
    stopped_after(5, words, monkeypatch)
    run(STUDENT, words, "--resume_ExpID latest")
    assert not unequal(checkpoint(the_run()), whole)


def test_a_resumed_pass_equals_the_whole_one(monkeypatch):
    words = f"--path_t {write_network(Path()).resolve()} {TINY} {TWO_VIEWS} --mix_mode cutmix"
    words += " --fix_student --utils.ON --utils.check_ce_var --learning_rate 0 --epochs 4"
    words += f" --device {DEVICE}"
    (whole,) = metrics(new_run(STUDENT, words), "summary")
    Path("other").mkdir()
    monkeypatch.chdir("other")
    stopped_after(7, words, monkeypatch)
    run(STUDENT, words, "--resume_ExpID latest")
    (resumed,) = metrics(the_run(), "summary")
    assert resumed["t_stddev"] == whole["t_stddev"] > 0


@pytest.mark.parametrize("name", ["kd", "crd", "factor"])
@pytest.mark.parametrize("devices", [("cpu", DEVICE, "cpu"), (DEVICE, "cpu", DEVICE)])
def test_a_run_goes_on_on_the_other_device(devices, name):
    for epochs, device in enumerate(devices, 1):
        more = "" if epochs == 1 else "--resume_ExpID latest"
        run(STUDENT, words_of(name, device), f"--epochs {epochs} --dev_split 0.25", more)
    assert [record["epoch"] for record in metrics(the_run(), "epoch")] == [1, 2, 3]


@pytest.mark.parametrize("name", ["kd", "crd"])
def test_checkpoints_hold_tensors_of_the_cpu(name):
    path = new_run(STUDENT, words_of(name), "--epochs 1 --save_freq 1")
    files = sorted(path.glob("weights/*.pth"))
    assert len(files) >= 3
    for file in files:
        tensors = tensors_in(load(file))
        assert tensors and {str(one.device) for one in tensors} == {"cpu"}, file.name


# --- Commands -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_auto_takes_the_gpu(name):
    there, here = (new_run(STUDENT, words_of(name, d), "--epochs 1") for d in ("auto", "cpu"))
    name_of_gpu = torch.cuda.get_device_name()
    assert any(line.startswith(f"device cuda ({name_of_gpu})") for line in log_lines(there))
    losses = [metrics(path, "epoch")[0]["test_loss"] for path in (there, here)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_a_teacher_is_trained_and_evaluated():
    path = new_run(TEACHER, f"{TINY} --model resnet8 --epochs 1 --device auto --dev_split 0.25")
    (epoch,) = metrics(path, "epoch")
    file = Path("save/models/resnet8_vanilla/ckpt_epoch_1.pth")
    for device in ("auto", "cpu"):
        found = script("scripts/evaluate.py", file, f"{DATA} --device {device} --json")
        assert found.returncode == 0, found.stderr
        loss = json.loads(found.stdout)["loss"]
        assert loss == pytest.approx(epoch["test_loss"], rel=1e-2), device


def ranking(device, *words):
    made = script(
        "scripts/rank_augmentations.py",
        "cutmix mixup flip cutout autoaugment",
        f"--path_t {write_sharp_network()} {DATA} --limit_train 40 --batch_size 8 --seed 3",
        f"--until budget --budget 80 --precision highest --device {device}",
        f"-o {device}.csv --json {device}.json",
        *words,
    )
    assert made.returncode == 0, made.stderr
    rows = json.loads(Path(f"{device}.json").read_text())["schemes"]
    measures = ("published_t_stddev", "t_stddev", "balance", "information")
    return {(row["scheme"], key): row[key] for row in rows for key in measures if row[key]}


def test_a_ranking_is_the_cpus():
    there, here = ranking("auto"), ranking("cpu")
    assert len(here) >= 10
    assert not differences(there, here, relative=1e-2, absolute=1e-6)


@pytest.mark.parametrize("job", ["train", "stddev"])
def test_a_benchmark(job):
    words = f"--dataset synthetic --pairs resnet14/resnet8 --modes cutmix --jobs {job}"
    words += f" --device {DEVICE} --batch_size 8 --steps 2 --rounds 1 --json b.json"
    made = script("scripts/benchmark.py", words)
    assert made.returncode == 0, made.stderr
    report = json.loads(Path("b.json").read_text())
    assert report["rows"]
    assert all(row["steps_per_second"] > 0 for row in report["rows"]), report


def test_a_preview():
    made = script(
        "scripts/preview_augmentations.py",
        "cutmix autoaugment",
        f"{DATA.replace('--limit_test 24', '')} --num_images 3 --device auto -o p.png",
    )
    assert made.returncode == 0, made.stderr
    assert Path("p.png").stat().st_size > 0


def test_a_sweep_of_two_jobs_at_once():
    write_network(Path(), "resnet8")
    made = script(
        "scripts/sweep.py",
        "--dataset synthetic --teachers . --teacher_file t.pth --pairs resnet8/resnet8 --trials 1",
        f"--schemes cutmix,mixup --gpus 0 --jobs 2 -- {TINY} --epochs 1",
    )
    assert made.returncode == 0, made.stdout + made.stderr
    paths = sorted(Path("Experiments").glob("*/log/log.txt"))
    assert len(paths) == 2
    for path in paths:
        assert "device cuda (" in path.read_text() and "done, see" in path.read_text()


def test_a_gpu_that_is_not_there_is_one_line():
    words = f"--path_t {write_network(Path())} {TINY} {COMMANDS['kd']} --epochs 1"
    made = script(STUDENT, words, CUDA_VISIBLE_DEVICES="7")
    assert made.returncode == 2 and "Traceback" not in made.stderr
    assert "CUDA_VISIBLE_DEVICES=7" in made.stderr.splitlines()[-1]


# --- Memory ---------------------------------------------------------------------------------------

SMALL = """
import os, runpy, sys, torch
whole = torch.cuda.mem_get_info()[1]
torch.cuda.set_per_process_memory_fraction(300e6 / whole)
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_out_of_memory_is_one_line():
    """300 MB are enough to begin, and not for 4096 images of 32x32 pixels at once."""
    words = f"--path_t {write_network(Path(), img_size=32)} {VIEW} --distill kd --epochs 1"
    words += f" --dataset synthetic --num_classes {CLASSES} --limit_train 4096 --limit_test 24"
    command = [sys.executable, "-c", SMALL, ROOT / STUDENT, *words.split()]
    made = subprocess.run(
        [*command, "--batch_size", "4096", "--device", DEVICE],
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert made.returncode == 1, made.stderr
    assert "Traceback" not in made.stderr
    line = made.stderr.splitlines()[-1]
    assert line.startswith("train_student.py: error: out of memory at --batch_size 4096"), line
    (stopped,) = [line for line in log_lines(the_run()) if line.startswith("stopped:")]
    assert "memory" in stopped


# --- Processes ------------------------------------------------------------------------------------


def torchrun(processes, *words):
    parts = [part for word in words for part in str(word).split()]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node",
         str(processes), ROOT / STUDENT, *parts],
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip


@pytest.mark.parametrize("processes", [1, 2])
def test_torchrun(processes):
    """Two processes on one GPU meet by gloo."""
    words = f"{words_of('kd')} --sync_bn --epochs 1 --precision highest"
    whole = new_run(STUDENT, words)
    shutil.move(whole, "whole")
    made = torchrun(processes, words)
    assert made.returncode == 0, made.stderr
    divided, expected = checkpoint(the_run()), checkpoint(Path("whole"))
    if processes == 1:
        assert not unequal(divided, expected)
    for name, value in expected["model"].items():
        torch.testing.assert_close(divided["model"][name], value, rtol=1e-2, atol=1e-2)
    assert any(f"device {DEVICE}:0" in line for line in log_lines(the_run()))


NCCL = """
import torch, torch.distributed as dist
from helper.processes import distributed
device = torch.device("cuda:0")
store = dist.HashStore()
dist.init_process_group("nccl", store=store, rank=0, world_size=1, device_id=device)
for dtype in (torch.float32, torch.bfloat16, torch.bool, torch.int64):
    rows = torch.arange(12, device=device).view(4, 3).to(dtype)
    assert torch.equal(distributed._Gather.apply(rows, 4), rows), dtype
rows = torch.ones(4, 3, device=device, requires_grad=True)
distributed._Gather.apply(rows, 4).square().sum().backward()
assert torch.equal(rows.grad, torch.full((4, 3), 2.0, device=device))
total = torch.ones(3, dtype=torch.float64, device=device)
dist.all_reduce(total)
values = [{"seed": 3}]
dist.broadcast_object_list(values, src=0)
distributed._Agreement()
network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).to(device)
network = network.to(memory_format=torch.channels_last)
wrapped = torch.nn.parallel.DistributedDataParallel(
    network, broadcast_buffers=False, find_unused_parameters=True)
for _ in range(2):
    images = torch.ones(2, 3, 8, 8, device=device)
    (wrapped(images).sum() + wrapped(images * 2).sum()).backward()
dist.barrier()
dist.destroy_process_group()
print("all of it")
"""


def test_nccl_takes_what_is_sent():
    """By a group of one process: more would need a GPU each."""
    made = subprocess.run(
        [sys.executable, "-c", NCCL], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert made.returncode == 0 and "all of it" in made.stdout, made.stderr
