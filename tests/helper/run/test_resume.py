"""Stopped at any step, a run goes on as if nothing had happened: bit for bit, with one log."""

import re
import shutil
import signal
import zipfile
from pathlib import Path

import pytest
import torch
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

from distiller_zoo import distillers
from helper.processes import interruption
from helper.run.checkpoint import save_checkpoint
from models import build_model

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
pytestmark = pytest.mark.usefixtures("empty_folder")
WORDS = f"{TINY} --seed 3 --print_interval 2"
"""In each epoch there are five places to stop at."""
METHOD = "--model_s resnet8 --nce_k 7 --init_epochs 1 --epochs 2 --dev_split 0.2"
MIXED = "--lw_mix [1,0,1] --mix_mode cutmix --t_output_as_target_for_input_mix --feature_views both"
KD = "--model_s resnet8 --distill kd --epochs 2 --lw_mix [1,1,1]"
PASS = (
    "--learning_rate 0 --fix_student --utils.check_ce_var --utils.check_ce_var_v2 --lw_mix "
    "[1,0,1] --epochs 3"
)
CHAINS = (
    "augmix:draw=sample,p=0.5+ricap",
    "tv.RandomPerspective:draw=sample+fmix+pick:criterion=teacher_entropy,n_run=3",
    "noise:sigma=0.5+patches+mean:k=4",
)
BY_STUDENT = "--mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion student_entropy"
SCHEMES = [f"--mix_mode {scheme}" for scheme in ("crop+flip", "autoaugment", "cutmix", *CHAINS)]
SCHEMES += [BY_STUDENT]
"""One of each kind of draws; that no mode draws from elsewhere is tested with the modes."""


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """The flag that gives a pass its student."""
    path = tmp_path_factory.mktemp("student") / "resnet8.pth"
    generator = torch.Generator().manual_seed(0)
    model = build_model("resnet8", num_classes=5, img_size=16, generator=generator)
    save_checkpoint(path, {"model": model.state_dict()})
    return f"--finetune_student {path}"


def stopped_run(monkeypatch, place, program, *words, number=signal.SIGTERM):
    """Run until the signal comes, at the `place`-th of the places where it is answered.

    Whether it ended before.
    """
    real, count = interruption.check, 0

    def signal_comes():
        nonlocal count
        count += 1
        if count == place:
            signal.raise_signal(number)
        real()

    with monkeypatch.context() as patch:
        patch.setattr(interruption, "agree", lambda received: received)  # so each place asks
        patch.setattr(interruption, "check", signal_comes)
        try:
            run(program, *words)
        except SystemExit as stopped:
            assert stopped.code == interruption.STATUS[number]
            return False
    return True


def assert_equal_runs(got, wanted):
    assert identical(load(got / "weights" / "ckpt.pth"), load(wanted / "weights" / "ckpt.pth"))
    of_session = ("job",)
    first, second = (
        [entry for entry in without_clock(metrics(path)) if entry["kind"] not in of_session]
        for path in (got, wanted)
    )
    assert first == second
    assert comparable(got) == comparable(wanted)


def comparable(path):
    """The lines of log.txt about the work, without clock times."""
    kinds = ("Epoch: [", "Acc1", "DevAcc1", "Check", "Summary", "Initial stage")
    lines = [line for line in log_lines(path) if line.startswith(kinds)]
    return [
        re.sub(r"Time \S+ \(\S+\) Data \S+ \(\S+\)|, [\d.]+ s\)|[\d.]+ s$", "", line)
        for line in lines
    ]


def command(teacher, words):
    return f"{WORDS} --path_t {teacher} {words}"


def check_stop_and_resume(monkeypatch, program, words, place):
    """One stop, then to the end, against a run without a stop."""
    run(program, words, "--debug --model_path wanted")
    assert not stopped_run(monkeypatch, place, program, words)
    part = the_run()
    torch.manual_seed(99)
    run(program, words, f"--resume_ExpID {part.name[-6:]} --seed 8")
    assert the_run() == part
    assert_equal_runs(part, the_run("Debug_Dir"))
    return part


def keeps_something(name):
    return bool({"__init__", "start_epoch", "ramp"} & vars(distillers[name]).keys())


TOGETHER = (
    "kd+hint+correlation+crd+vid", "abound+fsp+factor+ttm", "review+kdsvd+srrl+dkd", "simkd",
    "attention",
)  # fmt: skip
"""Those that keep something of their own, several in a run; the others go on as attention does."""


@pytest.mark.slow
@pytest.mark.parametrize("distill", TOGETHER)
def test_every_distiller_that_keeps_something_goes_on_within_an_epoch(
    tiny_teacher, monkeypatch, distill
):
    words = command(tiny_teacher, f"{METHOD} {MIXED} --distill {distill}")
    check_stop_and_resume(monkeypatch, STUDENT, words, 12)


def test_every_distiller_that_keeps_something_is_listed():
    assert set(filter(keeps_something, distillers)) < set("+".join(TOGETHER).split("+"))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_mix_mode_goes_on_within_an_epoch(tiny_teacher, monkeypatch, scheme):
    check_stop_and_resume(
        monkeypatch, STUDENT, command(tiny_teacher, f"{KD} {scheme} --utils.check_ce_var"), 9
    )


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [*SCHEMES[3:5], BY_STUDENT])
def test_every_pass_goes_on_within_an_epoch(tiny_teacher, student, monkeypatch, scheme):
    check_stop_and_resume(
        monkeypatch, STUDENT, command(tiny_teacher, f"{PASS} {scheme} {student}"), 6
    )


def test_the_covariance_with_a_student_goes_on(tiny_teacher, student, monkeypatch):
    words = command(tiny_teacher, f"{PASS} --mix_mode flip {student} --utils.check_ce_var_v3")
    check_stop_and_resume(monkeypatch, STUDENT, words, 6)


@pytest.mark.parametrize("mode", ["mixup", "autoaugment"])
def test_a_teacher_goes_on_within_an_epoch(monkeypatch, mode):
    words = f"{WORDS} --model resnet8 --epochs 2 --mix_mode {mode}"
    check_stop_and_resume(monkeypatch, TEACHER, words, 8)
    got, wanted = (
        Path(root, "resnet8_vanilla/ckpt_epoch_2.pth") for root in ("save/models", "wanted")
    )
    assert identical(load(got), load(wanted))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        f"{METHOD} {MIXED} --distill abound+crd --utils.check_ce_var",
        f"{KD} --mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion kld --save_freq 1",
        f"{PASS} --mix_mode mixup",
    ],
)
def test_stopped_again_and_again(tiny_teacher, monkeypatch, words):
    """After every third step, until it is done."""
    words = command(tiny_teacher, words)
    run(STUDENT, words, "--debug")
    assert not stopped_run(monkeypatch, 1, STUDENT, words)
    for _ in range(30):
        if stopped_run(
            monkeypatch, 4, STUDENT, words, "--resume_ExpID latest", number=signal.SIGUSR1
        ):
            break
    else:
        raise AssertionError("it gets nowhere")
    assert_equal_runs(the_run(), the_run("Debug_Dir"))


def test_a_killed_run_goes_on_from_its_last_epoch_and_logs_nothing_twice(tiny_teacher, monkeypatch):
    """A kill leaves no time to save: lines after the checkpoint are moved away."""
    words = command(tiny_teacher, f"{KD} --mix_mode cutmix --utils.check_ce_var --tb_freq 1")
    run(STUDENT, words, "--debug")
    assert not stopped_run(monkeypatch, 8, STUDENT, words)
    part, killed = the_run(), Path("killed")
    shutil.copytree(part, killed)
    assert not stopped_run(monkeypatch, 3, STUDENT, words, "--resume_ExpID latest")
    for name in ("ckpt.pth", "ckpt.previous.pth"):  # as if it had not been able to save
        shutil.copy(killed / "weights" / name, part / "weights" / name)
    (part / "weights" / ".ckpt.pth.half").write_bytes(b"half")
    with open(part / "log" / "metrics.jsonl", "a") as file:
        file.write('{"kind": "tra')
    run(STUDENT, words, "--resume_ExpID latest")
    assert_equal_runs(part, the_run("Debug_Dir"))
    undone = (part / "log" / "undone.txt").read_text().splitlines()
    assert len(undone) > 3 and all(line.startswith("[") for line in undone)
    assert any(f"{len(undone)} lines that were logged after" in line for line in log_lines(part))
    assert not list((part / "weights").glob(".*"))


# --- Which file it goes on from -------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tiny_teacher, tmp_path_factory):
    """(the command of a run of two epochs, its folder)"""
    words, root = command(tiny_teacher, f"{KD} --mix_mode flip"), tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return words, root / new_run(STUDENT, words)


@pytest.fixture
def two_epochs(finished, empty_folder):
    """(the command, a copy of the run's folder in the working directory)"""
    words, folder = finished
    return words, Path(shutil.copytree(folder, Path("Experiments", folder.name)))


def damage(path):
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
        stored = archive.read(largest)  # torch does not compress: the bytes stand as they are
    content[content.index(stored) + len(stored) // 2] ^= 1
    path.write_bytes(content)


def test_the_last_two_are_kept(two_epochs):
    _, folder = two_epochs
    epochs = [
        load(folder / "weights" / name)["epoch"] for name in ("ckpt.pth", "ckpt.previous.pth")
    ]
    assert epochs == [2, 1]


LATEST, FILE = "--resume_ExpID latest", "--resume_student {}/weights/ckpt.pth"


@pytest.mark.parametrize(
    ("how", "flag"),
    [
        ("flipped", LATEST), ("cut", LATEST), ("empty", LATEST), ("gone", LATEST),
        ("flipped", FILE), ("gone", FILE),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_costs_one_epoch(two_epochs, how, flag):
    words, folder = two_epochs
    path = folder / "weights" / "ckpt.pth"
    wanted = load(path)
    content = path.read_bytes()
    {
        "flipped": lambda: damage(path),
        "cut": lambda: path.write_bytes(content[:-9]),
        "empty": lambda: path.write_bytes(b""),
        "gone": path.unlink,
    }[how]()
    run(STUDENT, words, flag.format(folder))
    assert identical(load(path), wanted)
    (warning,) = [line for line in log_lines(folder) if line.startswith("warning: ")]
    assert "ckpt.pth" in warning and warning.endswith("going on from ckpt.previous.pth")
    assert [entry["epoch"] for entry in metrics(folder, "epoch")] == [1, 2]
    if how != "gone":
        assert (folder / "weights" / "ckpt.damaged.pth").exists()


def test_both_damaged_is_an_error(two_epochs, capsys):
    words, folder = two_epochs
    for name in ("ckpt.pth", "ckpt.previous.pth"):
        damage(folder / "weights" / name)
    with pytest.raises(SystemExit) as stopped:
        run(STUDENT, words, "--resume_ExpID latest")
    assert stopped.value.code == 2
    assert re.search(
        r"error: --resume_ExpID latest: .*/ckpt.pth is damaged", capsys.readouterr().err
    )


def test_other_data_are_another_job(two_epochs, monkeypatch, capsys):
    words, _ = two_epochs
    monkeypatch.setattr("dataset.spec.Dataset.fingerprint", lambda self: "f" * 16)
    with pytest.raises(SystemExit):
        run(STUDENT, words, "--resume_ExpID latest --epochs 3")
    assert "that run had data fingerprint " in capsys.readouterr().err


def test_the_students_file_of_a_pass_must_stay(tiny_teacher, student, monkeypatch, capsys):
    path = Path("student.pth")
    shutil.copy(student.split()[1], path)
    words = command(tiny_teacher, f"{PASS} {BY_STUDENT} --finetune_student {path}")
    stopped_run(monkeypatch, 4, STUDENT, words)
    torch.save(load(path) | {"epoch": 7}, path)
    with pytest.raises(SystemExit):
        run(STUDENT, words, "--resume_ExpID latest")
    assert "that run had student checksum " in capsys.readouterr().err


def test_a_dry_run_of_resuming_writes_nothing(two_epochs):
    words, folder = two_epochs
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run(STUDENT, words, "--resume_ExpID latest --epochs 3 --dry_run")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_teacher_is_not_written_twice():
    words = f"{WORDS} --model resnet8 --epochs 1"
    run(TEACHER, words)
    run(TEACHER, words, "--resume_ExpID latest")
    folder = Path("save/models/resnet8_vanilla")
    assert [path.name for path in folder.iterdir()] == ["ckpt_epoch_1.pth"]
    (folder / "ckpt_epoch_1.pth").unlink()
    run(TEACHER, words, "--resume_ExpID latest")
    assert [path.name for path in folder.iterdir()] == ["ckpt_epoch_1.pth"]


def test_formats_of_checkpoints(two_epochs, capsys):
    """Those of version 0.1 have no number; those of a newer version are refused."""
    words, folder = two_epochs
    path = folder / "weights" / "ckpt.pth"
    content = load(path)
    torch.save({key: value for key, value in content.items() if key != "format"}, path)
    run(STUDENT, words, f"--resume_student {path} --epochs 3")
    assert metrics(folder, "epoch")[-1]["epoch"] == 3
    torch.save(content | {"format": 99}, path)
    (folder / "weights" / "ckpt.previous.pth").unlink()
    with pytest.raises(SystemExit):
        run(STUDENT, words, f"--resume_student {path} --epochs 4")
    assert "has format 99, of a newer version: this one reads up to 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", {"a": 1}), ("epoch", -1), ("step", "3"), ("best_epoch", None), ("accuracy", {}),
        ("generators", torch.zeros(3)), ("optimizer", [1]),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_told(two_epochs, capsys, name, value):
    words, folder = two_epochs
    path = folder / "weights" / "ckpt.pth"
    torch.save(load(path) | {name: value}, path)
    (folder / "weights" / "ckpt.previous.pth").unlink()
    with pytest.raises(SystemExit) as stopped:
        run(STUDENT, words, f"--resume_student {path} --epochs 3")
    assert stopped.value.code == 2
    assert "has not all that resuming needs" in capsys.readouterr().err
