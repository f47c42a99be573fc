"""`--resume_ExpID same`: a command that is repeated begins, goes on, or is found done; never runs
twice at once."""

import argparse
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from command_line import TINY, identical, load, metrics, run, the_run

from helper.cli.options import parse_student, parse_teacher
from helper.errors import UserError
from helper.processes import interruption
from helper.run import same
from helper.run.files import Lock
from helper.run.resume import claim_same, lock_command

TEACHER = "train_teacher.py"
pytestmark = pytest.mark.usefixtures("empty_folder")
WORDS = f"{TINY} --model resnet8 --epochs 2"


def stop_at(monkeypatch, place, *words):
    """Run until a signal comes, at the `place`-th of the places where it is answered."""
    real, count = interruption.check, 0

    def signal_comes():
        nonlocal count
        count += 1
        if count == place:
            signal.raise_signal(signal.SIGTERM)
        real()

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(interruption, "agree", lambda received: received)  # so each place asks
        patch.setattr(interruption, "check", signal_comes)
        run(TEACHER, *words)


@pytest.mark.parametrize("seed", ["", "--seed 3"], ids=["drawn", "given"])
def test_it_begins_goes_on_and_is_done(monkeypatch, capsys, seed):
    words = f"{WORDS} {seed} --resume_ExpID same"
    stop_at(monkeypatch, 7, words)
    part = the_folder()
    drawn = json.loads((part / "log" / "args.json").read_text())["seed"]
    run(TEACHER, words)
    assert the_folder() == part and [e["epoch"] for e in metrics(part, "epoch")] == [1, 2]
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    capsys.readouterr()
    run(TEACHER, words)
    assert capsys.readouterr().out == f"this command is done, see {part}\n"
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before
    run(TEACHER, f"{WORDS} --seed {drawn} --debug")
    whole = the_run("Debug_Dir")
    assert identical(*(load(path / "weights" / "ckpt.pth") for path in (part, whole)))


def the_folder():
    (path,) = [path for path in Path("Experiments").iterdir() if path.is_dir()]
    return path


def test_a_done_teacher_whose_file_was_removed_is_written_again():
    run(TEACHER, WORDS, "--seed 1")
    (file,) = Path("save/models").rglob("*.pth")
    weights = load(file)
    file.unlink()
    run(TEACHER, WORDS, "--seed 1 --resume_ExpID same")
    assert identical(load(file), weights) and the_folder()


OTHER = ("--epochs 3", "--seed 2", "", "--batch_size 8 --seed 1", "--model_path elsewhere --seed 1")


@pytest.mark.parametrize("words", OTHER)
def test_another_command_is_another_job(words):
    """A command without --seed is not that of a run with one."""
    defaults = vars(parse_teacher([]))
    write_run("Experiments/a-20240101-000000", vars(parse_teacher([*WORDS.split(), "--seed", "1"])))
    seed = "" if words in ("", "--seed 2") else "--seed 1"
    options = parse_teacher(f"{WORDS} {seed} {words} --resume_ExpID same".split())
    claim = claim_same(options, TEACHER, defaults)
    assert not claim.is_done and options.resume_ExpID == ""


@pytest.mark.parametrize("words", ["--data_root x --note hello", "--num_workers 1", "--debug"])
def test_what_decides_no_number_does_not_matter(words):
    root = "Debug_Dir" if "debug" in words else "Experiments"
    write_run(f"{root}/a-20240101-000000", vars(parse_teacher([*WORDS.split(), "--seed", "1"])))
    options = parse_teacher(f"{WORDS} --seed 1 {words} --resume_ExpID same".split())
    assert claim_same(options, TEACHER, vars(parse_teacher([]))).is_done


def write_run(path, options, *, last="done, see here", program=TEACHER):
    """A run folder with just what it is known by."""
    log = Path(path) / "log"
    log.mkdir(parents=True)
    (log / "args.json").write_text(json.dumps(options | {"program": program}, default=str))
    (log / "log.txt").write_text(f"hostname: h\n[123456 1 2024/01/01-00:00:00] {last}\n")
    return Path(path)


def test_an_option_that_the_run_did_not_know_had_its_default():
    defaults = vars(parse_student([]))
    old = vars(parse_student(["--seed", "1"]))
    new = defaults | {"seed": 1, "seed_is_drawn": False, "invented_since": 3}
    known = defaults | {"invented_since": 3}
    assert same.identity(old, known) == same.identity(new, known)
    assert same.identity(old, known) != same.identity(new | {"invented_since": 4}, known)


def test_two_processes_cannot_begin_the_same_command():
    words = f"{WORDS} --seed 1 --resume_ExpID same".split()
    defaults = vars(parse_teacher([]))
    with claim_same(parse_teacher(words), TEACHER, defaults).file:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                claim_same(parse_teacher([*words, "--batch_size", "8"]), TEACHER, defaults)
                claim_same(parse_teacher(words), TEACHER, defaults)
            except UserError as error:
                status = 0 if "running already" in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    lock_command(Path("Experiments"), "x").close()


def test_a_running_one_is_refused():
    options = parse_teacher([*WORDS.split(), "--seed", "1"])
    path = write_run("Experiments/a-20240101-000000", vars(options), last="resumed: python")
    ready, hold = os.pipe()
    pid = os.fork()
    if pid == 0:
        lock = Lock(path)
        os.write(hold, b"x")
        signal.pause()
        lock.release()
    try:
        os.read(ready, 1)
        options.resume_ExpID = "same"
        with pytest.raises(
            UserError, match=rf"running already in {path}, .* on {os.uname().nodename}"
        ):
            claim_same(options, TEACHER, vars(parse_teacher([])))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("last", "age", "alive"),
    [("resumed: python", 600, True), ("resumed: python", 1000, False), ("done, see x", 600, True),
     ("interrupted in epoch 2 after step 3", 20, True),
     ("interrupted in epoch 2 after step 3", 70, False),
     ("stopped: the loss is nan", 70, False)],
)  # fmt: skip
def test_whether_a_run_on_another_host_is_alive(last, age, alive):
    """As on a cluster: it began here, was requeued elsewhere, and no lock tells."""
    log = write_run("Experiments/run", {}, last=last) / "log"
    os.utime(log / "log.txt", (time.time() - age,) * 2)
    (log / "lock").write_text("process 1 on elsewhere\n")
    assert same.is_alive(log.parent) == alive
    (log / "lock").write_text(f"process 1 on {os.uname().nodename}\n")
    assert not same.is_alive(log.parent)


def test_torchruns_restart_takes_the_newest_run_of_the_command(monkeypatch):
    options = parse_teacher(WORDS.split())
    write_run("Experiments/a-20240101-000000", vars(options))
    for second in (1, 2):
        path = write_run(f"Experiments/a-20240101-00000{second}", vars(options), last="resumed: x")
        (path / "weights").mkdir()
        torch.save({}, path / "weights" / "ckpt.pth")
    (path / "log" / "lock").write_text("process 1 on elsewhere\n")
    again = parse_teacher(WORDS.split())
    defaults = vars(parse_teacher([]))
    assert claim_same(again, TEACHER, defaults).file is None and again.resume_ExpID == ""
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    claim_same(again, TEACHER, defaults)
    assert again.resume_ExpID == path.name and again.seed == options.seed
    again = argparse.Namespace(**vars(again) | {"resume_ExpID": "", "resume": "x"})
    claim_same(again, TEACHER, defaults)
    assert again.resume_ExpID == ""
