"""Two and three processes on one machine: what they compute together is what one computes alone."""

import functools
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch._dynamo  # DistributedDataParallel imports it: once here, not in each of a hundred forks
import torch.distributed as dist
from command_line import identical, load, log_lines, metrics, new_run, run, the_run, without_clock
from fake_images import write_imagenet
from fast_runs import draw_once  # noqa: F401  (a fixture)
from forked import start

from augment import MixSettings, Pick, mix_modes, pick_criteria
from dataset.synthetic import synthetic_spec
from helper import distributed, heartbeat
from helper.engine import DistillStep, LabelStep, ViewMaker
from helper.methods import make_methods
from helper.metrics import evaluate
from helper.networks import freeze
from helper.option_tables import student_parser
from helper.sync_batchnorm import share_batchnorm
from helper.teacher_stats import TeacherStddev
from models import build_model

ROOT = Path(__file__).parent.parent
STUDENT, TEACHER = "train_student.py", "train_teacher.py"
CLASSES, SIZE = 10, 32
SPEC = synthetic_spec(CLASSES, SIZE)
IMAGES = 40
"""In the training set of the steps below."""


STORES = []


def keep_store(port, folder):
    """As torchrun does, in a process of its own."""

    def keep(_):
        store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
        time.sleep(300)
        del store

    STORES.append(start(keep, "", folder, output=folder / f"store{port}"))


@pytest.fixture(autouse=True)
def end_stores():
    yield
    for child in STORES:
        child.kill(signal.SIGKILL)
        child.wait()
    STORES.clear()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def join(rank, size, port):
    """What torchrun, which keeps the store, tells its processes."""
    values = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        "MASTER_PORT": port,
    }
    values |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    os.environ.update({name: str(value) for name, value in values.items()})


def start_all(program, words, folder, size, output):
    port = free_port()
    keep_store(port, folder)
    return [
        start(
            program, words, folder,
            output=output.with_name(f"{output.name}{rank}"), prepare=functools.partial(join, rank, size, port),
        )
        for rank in range(size)
    ]  # fmt: skip


def finish_all(program, words, folder, size, output):
    """(exit statuses, the lines on stderr of all)."""
    children = start_all(program, words, folder, size, output)
    statuses = [child.wait() for child in children]
    return statuses, said(children)


def said(children):
    """What our own code said on stderr, or Python; PyTorch's C++ code has a log of its own there."""
    lines = [line for child in children for line in child.stderr.splitlines()]
    return [line for line in lines if line.startswith(("train_", "Traceback")) or "Error: " in line]


def together(work, size, folder):
    """What `work()` returns in each of `size` processes."""

    def main(_):
        distributed.start(torch.device("cpu"))
        torch.save(work(), folder / f"result{distributed.rank()}")

    statuses, errors = finish_all(main, "", folder, size, folder / "child")
    assert statuses == [0] * size, errors
    return [torch.load(folder / f"result{rank}") for rank in range(size)]


def network(name, seed):
    generator = torch.Generator().manual_seed(seed)
    return build_model(name, num_classes=CLASSES, img_size=SIZE, generator=generator).double()


def batches(sizes):
    generator = torch.Generator().manual_seed(5)
    for count in sizes:
        images = torch.randn(count, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
        yield (
            images,
            torch.randint(CLASSES, (count,), generator=generator),
            torch.randperm(IMAGES, generator=generator)[:count],
        )


def train(distill, mix_mode="cutmix", criterion="", sizes=(8, 7, 2), shares=True, student="resnet8"):
    """Three steps in float64, the last one of two images. Weights, statistics, losses."""
    torch.manual_seed(distributed.rank())  # nothing may come from here
    words = [
        "--distill",
        distill,
        "--nce_k",
        "6",
        "--lw_mix",
        "[1,0.5,1]",
        *(["-a", "0.9"] * (distill == "crd")),
    ]
    options = student_parser().parse(words)
    teacher, student = freeze(network("resnet14", 0)), network(student, 1)
    if shares:
        share_batchnorm(student)
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    methods = make_methods(
        options, teacher=teacher, student=student, pair="", spec=SPEC, train_labels=torch.arange(IMAGES) % CLASSES,
        device=torch.device("cpu"), generator=generators[0],
    )  # fmt: skip
    methods.modules.double()
    pick = Pick(pick_criteria[criterion], 8, 4.0) if criterion else None
    views = ViewMaker(
        teacher,
        mix_modes[mix_mode](SPEC, MixSettings(n_run=2)),
        generators[1],
        pick=pick,
        student=student,
        preacts=methods.preacts,
        features_of_view=bool(methods.preacts),
    )
    step = DistillStep(
        views, distributed.parallel(student, uses_all=methods.head is None), methods.logit, methods.in_main_stage,
        methods.weights, teacher_target=True, feature_views=bool(methods.preacts),
    )  # fmt: skip
    return descend(step, student, methods.modules, sizes)


def train_on_labels(mix_mode, sizes=(8, 7, 2)):
    student = share_batchnorm(network("vgg8", 1))
    augment = mix_modes[mix_mode](SPEC, MixSettings())
    step = LabelStep(distributed.parallel(student), augment, torch.Generator().manual_seed(8))
    return descend(step, student, torch.nn.ModuleDict(), sizes)


def descend(step, student, modules, sizes):
    student.train()
    parameters = [*student.parameters(), *modules.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    history = []
    for images, labels, rows in batches(sizes):
        ((losses, _),) = step(images, labels, rows)
        total = step.weights.total(losses)
        optimizer.zero_grad()
        total.backward()
        distributed.average_gradients(step.replicated)
        optimizer.step()
        history.append(total.detach())
    return {
        "losses": torch.stack(history),
        **student.state_dict(),
        **{f"m.{k}": v for k, v in modules.state_dict().items()},
    }


def assert_close(got, wanted, tolerance=1e-9):
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(
            got[name], value, rtol=tolerance, atol=tolerance, msg=lambda text, n=name: f"{n}: {text}"
        )


CASES = [
    ("kd", {}), ("kd", {"mix_mode": "identity"}), ("kd", {"mix_mode": "cutout", "student": "wrn_16_1"}),
    ("crd", {}), ("hint", {}), ("kd+vid", {}), ("simkd", {}), ("review", {}), ("rkd", {"mix_mode": "mixup"}), ("dkd", {}),
    ("kd", {"mix_mode": "cutmix_pick", "criterion": "teacher_entropy"}),
    ("kd", {"mix_mode": "cutmix_pick", "criterion": "kld"}),
    ("attention", {"mix_mode": "cutmix_pick", "criterion": "student_entropy"}),
]  # fmt: skip


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(("distill", "options"), CASES)
def test_training_gives_the_weights_of_one_process(tmp_path, size, distill, options):
    """The last batch has fewer images than three processes: each has it whole."""
    work = functools.partial(train, distill, **options)
    wanted = work()
    results = together(work, size, tmp_path)
    for result in results:
        assert_close(result, wanted)
    for result in results[1:]:
        parameters = [name for name in result if "running" not in name and "losses" not in name]
        assert_close(
            {name: result[name] for name in parameters},
            {name: results[0][name] for name in parameters},
            1e-14,
        )


@pytest.mark.parametrize("mode", ["mixup", "cutmix", "flip"])
def test_a_teacher_gets_the_weights_of_one_process(tmp_path, mode):
    work = functools.partial(train_on_labels, mode)
    assert_close(together(work, 2, tmp_path)[1], work())


def test_without_shared_batchnorm_each_sees_its_part(tmp_path):
    """The weights are equal everywhere, but not those of one process."""
    work = functools.partial(train, "kd", shares=False)
    first, second = together(work, 2, tmp_path)
    for name in first:
        if "running" not in name:
            torch.testing.assert_close(first[name], second[name], rtol=1e-14, atol=1e-14)
    assert not torch.allclose(first["conv1.weight"], work()["conv1.weight"], rtol=1e-6)


def test_shared_batchnorm_is_batchnorm(tmp_path):
    """Values, gradients, statistics; four images on three processes."""
    images = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def work():
        layer = share_batchnorm(torch.nn.Sequential(torch.nn.BatchNorm2d(3)).double())[0]
        torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
        leaf = images.clone().requires_grad_()
        out = distributed.divided(layer, leaf, layer)
        (out * torch.arange(5.0)).cos().sum().backward()
        gradients = [leaf.grad, layer.weight.grad, layer.bias.grad]
        gradients = [distributed.summed(gradient) / distributed.size() for gradient in gradients]
        return {
            "out": out.detach(), **{f"grad{k}": g for k, g in enumerate(gradients)}, **layer.state_dict()
        }  # fmt: skip

    for result in together(work, 3, tmp_path):
        assert_close(result, work())
    assert_close({"out": work()["out"]}, {"out": reference(images)})


def reference(images):
    layer = torch.nn.BatchNorm2d(3).double()
    torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
    return layer(images).detach()


@pytest.mark.parametrize("size", [2, 3])
def test_evaluation_is_exact(tmp_path, size):
    def work():
        model = network("resnet8", distributed.rank() * 0 + 3).float()
        for buffer in model.buffers():  # in the second process they are off, as without --sync_bn
            buffer.add_(distributed.rank())
        result = evaluate(model, [(i.float(), y, r) for i, y, r in batches((7, 5, 1))])
        return {name: torch.tensor(value) for name, value in vars(result).items()}

    wanted = work()
    for result in together(work, size, tmp_path):
        assert_close(result, wanted, 1e-6)
        assert result["acc1"] == wanted["acc1"]


@pytest.mark.parametrize("size", [2, 3])
def test_t_stddev_is_that_of_one_process(tmp_path, size):
    """Fourteen steps: two groups, and a part of a third, over which a checkpoint is written and read."""

    def work():
        teacher = freeze(network("resnet8", 0))
        views = ViewMaker(
            teacher,
            mix_modes["cutmix"](SPEC, MixSettings()),
            torch.Generator().manual_seed(4),
            own_rows_only=True,
        )
        stddev = TeacherStddev(CLASSES, is_divided=True)
        for number, (images, *_) in enumerate(batches([8, 7] * 6 + [2, 1])):
            seen = views(images)
            stddev.update(seen.teacher_clean.softmax(1), seen.teacher_view.softmax(1))
            if number == 6:
                state = stddev.state_dict()
                stddev = TeacherStddev(CLASSES, is_divided=True)
                stddev.load_state_dict(state)
        value, entropy = stddev.value()
        return {"value": torch.tensor(value), "entropy": torch.tensor(entropy), **{
            name: torch.as_tensor(value) for name, value in stddev.state_dict().items()
        }}  # fmt: skip

    wanted = work()
    assert wanted["groups"] == 2 and wanted["group"][-1] == 2 * (8 + 7 + 2 + 1)
    for result in together(work, size, tmp_path):
        assert_close(result, wanted)


@pytest.mark.parametrize(("count", "size"), [(7, 3), (64, 3), (2, 3), (1, 2), (9, 9)])
def test_parts_are_all_of_it(monkeypatch, count, size):
    parts = []
    for rank in range(size):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(distributed, "size", lambda: size)
        parts.append(range(count)[distributed.part(count)])
    assert [row for part in parts for row in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


# --- Scripts -------------------------------------------------------------------------------------------------------

TINY = (
    "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 44 --limit_test 24 --batch_size 16 --device cpu "
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
    kinds = [[(entry["kind"], entry.get("epoch")) for entry in metrics(path)] for path in (got, wanted)]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    "words",
    [
        "--distill kd --mix_mode cutmix --utils.check_ce_var --epochs 1",
        "--distill crd --nce_k 7 -a 0.5 --mix_mode mixup --epochs 1",
        "--distill abound --init_epochs 1 --mix_mode flip --epochs 1",
        "--mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion student_entropy --epochs 1",
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
    words = f"{TINY} --path_t {teacher} --lw_mix [1,0,1] --learning_rate 0 --fix_student --utils.check_ce_var --epochs 4 --mix_mode {scheme}"
    whole = new_run(STUDENT, words, "--debug", root="Debug_Dir")
    statuses, errors = finish_all(STUDENT, words, tmp_path, 2, tmp_path / "child")
    assert statuses == [0, 0] and not errors
    (got,), (wanted,) = (metrics(path, "summary") for path in (the_run(), whole))
    assert got["t_stddev"] == pytest.approx(wanted["t_stddev"], rel=1e-6)  # float32 logits
    assert got["entropy"] == pytest.approx(wanted["entropy"], rel=1e-6)


def test_resumed_on_another_number_of_processes(tmp_path, teacher):
    """Three, then one, then two."""
    words = f"{TINY} --path_t {teacher} {KD} --distill crd --nce_k 7 --mix_mode cutmix --learning_rate 0.001 --utils.check_ce_var"
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
        [entry for entry in without_clock(metrics(path)) if entry["kind"] in ("epoch", "train", "t_stddev")]
        for path in (got, wanted)
    )
    assert [entry["kind"] for entry in first] == [entry["kind"] for entry in second]
    for one, other in zip(first, second):
        assert one.keys() == other.keys()
        for name, value in other.items():
            near = pytest.approx(value, rel=1e-3, abs=1e-3) if isinstance(value, float) else value
            assert one[name] == near, (name, one)


@pytest.mark.parametrize("number", ["SIGTERM", "SIGUSR1"])
def test_a_signal_to_one_stops_all_at_one_step(tmp_path, teacher, number):
    words = f"{TINY.replace('44', '600')} --path_t {teacher} {KD} --distill kd --mix_mode cutmix --epochs 1"
    children = start_all(STUDENT, words, tmp_path, 2, tmp_path / "child")
    end = time.monotonic() + 60
    while "Epoch: [1][5/" not in children[0].stdout:
        assert time.monotonic() < end
        time.sleep(0.02)
    for child in (children[1], children[1], children[0]):  # as if torchrun passed on what Slurm told all
        child.kill(signal.Signals[number])
    assert [child.wait(60) for child in children] == [143, 143]
    assert said(children) == [f"{STUDENT}: interrupted"]
    checkpoint = load(the_run() / "weights" / "ckpt.pth")
    assert checkpoint["step"] > 5
    statuses, errors = finish_all(STUDENT, f"{words} --resume_ExpID latest", tmp_path, 2, tmp_path / "child")
    assert statuses == [0] * 2 and not errors
    steps = [
        int(line.split("][")[1].split("/")[0]) for line in log_lines(the_run()) if line.startswith("Epoch: [")
    ]
    assert steps == list(range(38))


@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_process_ends_the_others(tmp_path, teacher, victim):
    words = f"{TINY.replace('44', '600')} --path_t {teacher} {KD} --distill kd --mix_mode cutmix --epochs 2"
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
    assert ("] stopped: lost contact" in (the_run() / "log" / "log.txt").read_text()) == (victim == 1)
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
    """Nothing tells of a machine that is off, or of a cut cable. Here it is stopped, which closes no connection."""
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(heartbeat, "SILENT_BEATS", 10)
    monkeypatch.setattr(heartbeat, "STORE_SECONDS", 2.0)
    monkeypatch.setattr(distributed, "LAST_SECONDS", 1.0)
    words = f"{TINY.replace('44', '2000')} --path_t {teacher} {KD} --distill kd --mix_mode cutmix --epochs 9"
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
        "--dataset imagenet100 --data_root data --limit_train 9 --limit_test 5 --batch_size 4 --model resnet18 --epochs 1 "
        "--device cpu --seed 3 --num_workers 0 --mix_mode cutmix --sync_bn --learning_rate 0.0001 --model_path"
    )
    whole = new_run(TEACHER, words, "whole --debug", root="Debug_Dir")
    statuses, errors = finish_all(TEACHER, f"{words} part", tmp_path, 2, tmp_path / "child")
    assert statuses == [0, 0] and not errors
    assert_close_runs(the_run(), whole)
    assert Path("part/resnet18_vanilla/ckpt_epoch_1.pth").exists()


def test_torchrun_starts_it(tmp_path):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port()),
        str(ROOT / TEACHER), *TINY.split(), "--model", "resnet8", "--epochs", "1", "--sync_bn",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "2 processes, " in done.stdout and done.stdout.count("done, see ") == 1
    assert Path("save/models/resnet8_vanilla/ckpt_epoch_1.pth").exists()


def test_torchruns_restart_goes_on(tmp_path):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone",
        "--max_restarts", "1", str(ROOT / TEACHER), *TINY.replace("44", "400").split(), "--model", "resnet8", "--epochs", "3",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=open("err.txt", "w"), text=True
    ) as torchrun:
        pid = None
        for line in torchrun.stdout:
            if " Epoch: [2][5/" in line and pid is None:
                pid = int(line.split()[1])
                os.kill(pid, signal.SIGKILL)
    assert torchrun.returncode == 0
    assert [entry["epoch"] for entry in metrics(the_run(), "epoch")] == [1, 2, 3]
    assert len([line for line in log_lines(the_run()) if line.startswith("resumed: ")]) == 1


def test_one_process_of_torchrun_is_a_plain_run(tmp_path):
    words = f"{TINY} --model resnet8 --epochs 1"
    whole = new_run(TEACHER, words, "--debug", root="Debug_Dir")
    statuses, _ = finish_all(TEACHER, words, tmp_path, 1, tmp_path / "child")
    assert statuses == [0]
    assert identical(*(load(path / "weights" / "ckpt.pth") for path in (the_run(), whole)))
