"""One printed command of a sweep, run by itself."""

import os
from pathlib import Path

import pytest
from sweep_runs import (
    KILL,
    begin,
    calls,
    command,
    do,
    end,
    epochs_of,
    inventory,
    runs,
    terminal,
    until,
    with_stub,
)

import scripts.sweep_line as sweep_line
from helper.errors import one_line_errors
from scripts.sweep import command_line as sweep
from scripts.sweep import jobs as sweep_jobs

# --- One printed command --------------------------------------------------------------------------


def print_lines(argv, capsys):
    """Fill commands.txt as a user does. Returns its lines."""
    split = argv.index("--")
    capsys.readouterr()
    sweep.main([*argv[:split], "--print", *argv[split:]])
    Path("commands.txt").write_text(capsys.readouterr().out)
    return Path("commands.txt").read_text().splitlines()


def begin_line(number=1):
    return begin(["commands.txt", str(number)], sweep_line.main)


@pytest.mark.slow
def test_a_printed_command_is_the_sweeps_own_job(place):
    options = sweep.parse(["--kind", "both", "--dataset", "cifar100", "--print"])
    jobs = sweep_jobs.make_jobs(options, ["--epochs", "60"])
    for job in jobs:
        words = [*job.words, *(["--finetune_student", "any"] if job.students else [])]
        again = sweep_line.job_of([*words, "--resume_ExpID", "same"], "here")
        assert again.words == tuple(words)
        assert (again.file(""), again.key, str(again)) == (job.file(""), job.key, str(job))
    assert len({job.file("") for job in jobs}) == len(jobs) == 81 * 4


def test_a_line_begins_goes_on_and_is_done(place, monkeypatch, capsys):
    argv = with_stub(command("--schemes identity,flip", epochs=20))
    assert len(print_lines(argv, capsys)) == 2
    for seconds, sign in (("60", "log/metrics.jsonl"), ("0.05", "weights/ckpt.pth")):
        monkeypatch.setenv("STUB_SECONDS", seconds)  # killed before its first checkpoint, and after
        pid = begin_line(2)
        until(lambda sign=sign: list(Path("Experiments").glob(f"*/{sign}")))
        os.kill(pid, KILL)  # the run itself: the process became it
        assert end(pid) == -KILL
    (run,) = Path("Experiments").glob("*/weights/ckpt.pth")
    run = run.parent.parent
    seen = epochs_of(run)
    assert end(begin_line(2)) == 0 and calls()[-1][1] == run.name
    assert (
        epochs_of(run)[: len(seen)] == seen
        and epochs_of(run)[-1] == 20
        and len(epochs_of(run)) <= 21
    )
    before = inventory()
    assert end(begin_line(2)) == 0 and len(calls()) == 3 and inventory() == before
    assert f"train resnet8/resnet8 flip trial 1 is done: {run}" in terminal()
    assert [call[1] for call in calls()] == [None, None, run.name]
    assert len(print_lines(argv, capsys)) == 1  # only the other


def test_a_line_that_was_printed_interrupted_knows_how_it_goes_on_now(place, capsys):
    argv = with_stub(command("--schemes flip"))
    assert do(argv) == 0
    run = Path("Experiments", *runs())
    (run / "log" / "log.txt").write_text("")
    (line,) = print_lines(argv, capsys)
    assert line.endswith("--resume_ExpID same")
    run.rename(run.with_name("moved"))
    Path("commands.txt").write_text(f"env -u X TOLD=1 {line}\n")
    assert end(begin_line()) == 0 and calls()[-1][1] == "moved"


@pytest.mark.slow
def test_a_line_and_a_sweep_do_not_run_the_same_job(place, monkeypatch, capsys):
    monkeypatch.setattr(sweep_line, "PAUSE", 0.1)
    monkeypatch.setenv("STUB_SECONDS", "0.05")
    argv = with_stub(command("--schemes flip", epochs=40))
    print_lines(argv, capsys)
    pid = begin_line()
    until(lambda: Path("calls.txt").exists())
    assert do(argv) == 0 and "1 run by others" in terminal()
    (log,) = Path("Experiments").glob("*/log/log.txt")
    second = begin_line()
    until(lambda: "waiting to see whether it is" in terminal())
    with open(log, "a") as file:  # its progress, which the stub does not log
        file.write("more\n")
    assert end(second) == 0 and "is running by a sweep: left to it" in terminal()
    assert end(pid) == 0 and len(calls()) == len(runs()) == 1


def test_a_line_waits_for_a_run_that_may_be_dead_and_takes_it(place, monkeypatch, capsys):
    monkeypatch.setattr(sweep_line, "PAUSE", 0.05)
    argv = with_stub(command("--schemes flip"))
    assert do(argv) == 0
    run = Path("Experiments", *runs())
    log = run / "log" / "log.txt"
    log.write_text("hostname: elsewhere  userip: u\n")
    os.utime(log, (0, 0))
    print_lines(argv, capsys)
    os.utime(log)
    line = begin_line()
    until(lambda: "waiting to see whether it is" in terminal())
    assert len(calls()) == 1
    os.utime(log, (0, 0))
    assert end(line) == 0 and [call[1] for call in calls()] == [None, run.name]


BAD_LINES = {
    "": ("no command of train_student.py", 1),
    "python train_teacher.py --model vgg8": ("no command of train_student.py", 1),
    "python train_student.py 'open": ("No closing quotation", 1),
    "python train_student.py --epochs few": ("few", 1),
    "python train_student.py --debug": ("--debug has no place", 1),
    "python train_student.py --resume_student x": ("--resume_student has no place", 1),
    "python elsewhere/train_student.py --trial 1": (
        "there is no elsewhere/train_student.py here",
        1,
    ),
    "python train_student.py --trial 1": ("has 1 lines, there is no line 2", 2),
}


@pytest.mark.parametrize("text", BAD_LINES)
def test_a_bad_line_is_one_line_and_leaves_nothing(place, capsys, text):
    Path("commands.txt").write_text(f"{text}\n")
    before = set(place.rglob("*"))
    message, number = BAD_LINES[text]
    with pytest.raises(SystemExit) as ended, one_line_errors(sweep_line.PROGRAM):
        sweep_line.main(["commands.txt", str(number)])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1 and message in error
    assert set(place.rglob("*")) == before
