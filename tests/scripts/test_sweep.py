"""The sweep: its commands, and what it does about runs that are finished, interrupted, failed or
someone else's."""

import gc
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import run
from places import ROOT
from sweep_runs import (
    INTERRUPT,
    KILL,
    PICKED,
    TERMINATE,
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

from augment import mix_modes
from helper.cli.options import parse_student
from helper.errors import one_line_errors
from helper.loop import training
from helper.run import same
from scripts.sweep import command_line as sweep
from scripts.sweep import jobs as sweep_jobs

SCRIPTS = ROOT / "scripts"


# --- Commands -------------------------------------------------------------------------------------


def printed(capsys, *words):
    """The words are those of no run that may lie in the repository's Experiments/."""
    sweep.main([*words, "--print", "--", "--limit_train", "12321"])
    out, errors = capsys.readouterr()
    return [shlex.split(line) for line in out.splitlines()], errors.splitlines()


def test_it_prints_every_pair_scheme_and_trial(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    commands, complaints = printed(capsys, *"--dataset cifar100 --kind train --trials 2".split())
    assert len(commands) == 81 * 2 and not complaints
    seen = set()
    for python, program, *words in commands:
        assert (python, program) == ("python", "train_student.py")
        options = parse_student(words)
        teacher = options.path_t.split("/")[3].removesuffix("_vanilla")
        assert options.path_t == f"./save/models/{teacher}_vanilla/ckpt_epoch_240.pth"
        picks = options.mix_mode == "cutmix_pick"
        scheme = options.mix_mode + (f"_{options.cutmix_pick_criterion}" if picks else "")
        assert options.mix_n_run == (2 if picks else 1)
        assert options.project_name == f"kd__{teacher}{options.model_s}__cifar100__{scheme}"
        assert (options.distill, options.gamma, options.alpha, options.beta) == ("kd", 0.1, 0.9, 0)
        assert options.lw_mix == (1, 0, 1) and options.t_output_as_target_for_input_mix
        assert options.epochs == 240 and not options.fix_student and options.limit_train == 12321
        assert options.learning_rate == (
            0.01 if options.model_s in ("MobileNetV2", "ShuffleV2") else 0.05
        )
        assert str(options.seed) == options.trial
        seen.add((f"{teacher}/{options.model_s}", scheme, options.trial))
    assert len(seen) == 162 and {pair for pair, *_ in seen} == set(sweep_jobs.PAIRS)
    assert {scheme for _, scheme, _ in seen} == set(sweep_jobs.SCHEMES)
    assert {scheme for scheme in sweep_jobs.SCHEMES if "pick" not in scheme} < set(mix_modes)


def test_it_prints_the_passes_that_need_no_student(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    commands, complaints = printed(capsys, *"--dataset tinyimagenet --kind stddev".split())
    assert len(commands) == 72 and len(complaints) == 9
    assert all(line.startswith("# ") and "needs a finished training" in line for line in complaints)
    for _, _, *words in commands:
        options = parse_student(words)
        assert options.fix_student and options.learning_rate == 0 and options.epochs == 10
        assert getattr(options, "utils.ON") and getattr(options, "utils.check_ce_var")
        assert options.dataset == "tinyimagenet" and "/models_tinyimagenet" in options.path_t


@pytest.mark.parametrize("dataset", ["cifar100", "tinyimagenet"])
@pytest.mark.parametrize(("name", "kind"), [("S_test_loss", "train"), ("T_stddev", "stddev")])
def test_each_script_names_its_job(name, kind, dataset):
    script = SCRIPTS / f"{name}_different_DA_{dataset}.sh"
    assert f'scripts/sweep.py --dataset {dataset} --kind {kind} "$@"' in script.read_text()
    assert os.access(script, os.X_OK)


def test_a_pattern_takes_the_newest_teacher(place, capsys):
    for name, age in (("ckpt_epoch_30.pth", 0), ("ckpt_epoch_40.pth", 100)):
        path = place / "t" / "resnet8_vanilla" / name
        path.write_text("")
        os.utime(path, (time.time() - age + 50, time.time() - age + 50))
    sweep.main(command("--print --schemes flip --teacher_file ckpt_epoch_*.pth"))
    assert "t/resnet8_vanilla/ckpt_epoch_30.pth" in capsys.readouterr().out


BAD = {
    "--dataset cifar1000 --": "cifar100",
    "--kind both,train --": "both, stddev, train",
    "--schemes cutmx --": "Did you mean 'cutmix'",
    "--schemes flip,,cutout --": "joined by commas",
    "--pairs vgg13 --": "teacher/student",
    "--pairs vgg13/vgg88 --": "Did you mean 'vgg8'",
    "--trials 0 --": "--trials",
    "--jobs 0 --": "--jobs",
    "--gpus 0,,1 --": "joined by commas",
    "--python no/such/python --": "no/such/python",
    "--print --status --": "give one",
    "--teachers none --": "no teacher none/resnet8_vanilla/ckpt_epoch_240.pth",
    "--teacher_file *.pt --": "no file in t/resnet8_vanilla",
    "--nonsense --": "unknown option --nonsense",
    "-- --learning_rat 0.1 --nonsense": "unknown option --nonsense",
    "-- --alpha many": "many",
    "-- --seed 9": "--seed is what the sweep decides",
    "-- --fix_student --utils.check_ce_var": "--fix_student is what the sweep decides",
    "-- --debug": "--debug is what the sweep decides",
    "-- --resume_ExpID latest": "--resume_ExpID is what the sweep decides",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(place, capsys, words):
    before = set(place.rglob("*"))
    of_sweep, _, of_jobs = f" {words} ".partition(" -- ")
    with pytest.raises(SystemExit) as ended, one_line_errors(sweep.PROGRAM):
        sweep.main(command(of_sweep, of_jobs))
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1 and BAD[words] in error
    assert set(place.rglob("*")) == before


# --- Runs, with the stub --------------------------------------------------------------------------


def test_everything_runs_once_and_the_pass_finds_its_student(place, capsys):
    argv = with_stub(command(f"--kind both --schemes flip,{PICKED} --trials 2 --jobs 2 --gpus 3,5"))
    assert do(argv) == 0, terminal()
    assert len(runs()) == len(calls()) == 8 and {call[0] for call in calls()} == {"3", "5"}
    passes = [call for call in calls() if "--fix_student" in call and "student_entropy" in call]
    for call in passes:
        student = Path(call[-3]).parent.parent
        args = json.loads((student / "log" / "args.json").read_text())
        assert args["trial"] == "1" and args["cutmix_pick_criterion"] == "student_entropy"
    before = inventory()
    assert do(argv) == 0 and "8 finished before" in terminal()
    assert inventory() == before and len(calls()) == 8
    sweep.main([*argv[: argv.index("--")], "--print", *argv[argv.index("--") :]])
    assert capsys.readouterr().out == ""
    assert do(with_stub(command("--schemes flip", epochs=4))) == 0  # other words: another job
    assert len(runs()) == 9


@pytest.mark.slow
@pytest.mark.parametrize("ending", [KILL, INTERRUPT, TERMINATE])
def test_what_was_killed_goes_on_in_its_folder(place, monkeypatch, ending):
    monkeypatch.setenv("STUB_SECONDS", "0.15")  # longer in all than the sweep waits for it to obey
    argv = with_stub(command("--schemes identity,flip,cutout", epochs=25))
    pid = begin(argv)
    until(lambda: Path("Experiments").exists() and len(runs()) == 2)
    flip = Path("Experiments", next(name for name in runs() if name.startswith("flip")))
    until(lambda: (flip / "weights" / "ckpt.pth").exists())
    # A terminal's Ctrl-C goes to the whole group, `kill` and a cluster's end to the sweep.
    os.kill(pid, ending) if ending == TERMINATE else os.killpg(pid, ending)
    assert end(pid) == (-ending if ending == KILL else 128 + ending)
    assert "--resume_ExpID" not in terminal() and 0 < len(epochs_of(flip)) < 25
    before = inventory()
    monkeypatch.setenv("STUB_SECONDS", "0.01")
    assert do(argv) == 0, terminal()
    assert len(runs()) == 3 and [call[1] for call in calls()] == [None, None, flip.name, None]
    assert epochs_of(flip)[-1] == 25 and len(epochs_of(flip)) <= 26
    after = inventory()
    assert all(after[path] == before[path] for path in before if flip not in path.parents)


def test_children_of_a_killed_sweep_are_not_started_again(place, monkeypatch, capsys):
    monkeypatch.setenv("STUB_SECONDS", "0.05")
    argv = with_stub(command("--schemes flip", epochs=30))
    pid = begin(argv)
    until(lambda: Path("calls.txt").exists())
    os.kill(pid, KILL)  # the sweep alone
    assert end(pid) == -KILL
    assert do(argv) == 0 and "1 run by others" in terminal() and len(calls()) == 1
    sweep.main([*argv[: argv.index("--")], "--status", *argv[argv.index("--") :]])
    assert "1 running" in capsys.readouterr().out
    until(lambda: do(argv) == 0 and "1 finished before" in terminal())
    assert len(calls()) == len(runs()) == 1


def test_two_sweeps_share_the_work(place, monkeypatch):
    monkeypatch.setenv("STUB_SECONDS", "0.02")
    argv = with_stub(
        command(f"--kind both --schemes identity,flip,cutmix,{PICKED} --jobs 2", epochs=5)
    )
    both = [begin(argv), begin(argv)]
    assert [end(pid) for pid in both] == [0, 0], terminal()
    assert len(calls()) == len(runs()) == 8
    assert len({" ".join(call[2:]) for call in calls()}) == 8


def test_a_failure_is_told_and_stops_nothing(place, capsys):
    argv = with_stub(command("--pairs resnet8/resnet14,resnet8/resnet8 --schemes flip"))
    assert do(argv) == 1
    *_, table = terminal().splitlines()
    assert table.startswith(
        "failed: train resnet8/resnet14 flip trial 1: status 3: RuntimeError: out of luck"
    )
    assert len(runs()) == 1 and "1 finished, 1 failed" in terminal()
    sweep.main([*argv[: argv.index("--")], "--status", *argv[argv.index("--") :]])
    status = capsys.readouterr().out.splitlines()
    assert status[0].split()[0] == "failed" and "out of luck" in status[0]
    assert status[1].split()[0] == "done" and status[-1] == "1 failed, 1 done"


def test_a_pass_without_its_student_waits_and_the_others_run(place, capsys):
    argv = with_stub(command(f"--kind stddev --schemes {PICKED},flip"))
    assert do(argv) == 1
    waiting = [line for line in terminal().splitlines() if line.startswith("waiting: ")]
    assert (
        len(waiting) == 1
        and f"needs a finished training of resnet8/resnet8 with {PICKED}" in waiting[0]
    )
    assert len(runs()) == 1
    assert (
        do(with_stub(command(f"--schemes {PICKED}", epochs=5))) == 0
    )  # as many epochs as you like
    assert do(argv) == 0 and len(runs()) == 3


def test_an_interrupted_pass_goes_on(place):
    argv = with_stub(command(f"--kind both --schemes {PICKED}"))
    assert do(argv) == 0
    (only,) = [
        name for name in runs() if not Path("Experiments", name, "weights", "ckpt.pth").exists()
    ]
    metrics = Path("Experiments", only, "log", "metrics.jsonl")
    metrics.write_text(metrics.read_text().splitlines()[0] + "\n")
    (metrics.parent / "log.txt").write_text(f"hostname: {os.uname().nodename}\n")
    Path("Experiments", only, "weights", "ckpt.pth").write_text("1")
    assert do(argv) == 0 and len(runs()) == 2 and "resume   stddev" in terminal()
    assert calls()[-1][1] == only and "--finetune_student" in calls()[-1]


def test_a_run_killed_before_it_saved_its_last_epoch_is_not_finished(place):
    argv = with_stub(command("--schemes flip"))
    assert do(argv) == 0
    run = Path("Experiments", *runs())
    (run / "weights" / "ckpt.pth").write_text("2")
    log = run / "log" / "log.txt"
    log.write_text("".join(line for line in log.read_text().splitlines(True) if "done" not in line))
    assert do(argv) == 0 and calls()[-1][1] == run.name and len(runs()) == 1


def test_a_run_that_someone_started_by_hand_is_left_alone(place):
    argv = with_stub(command("--schemes flip"))
    assert do(argv) == 0
    run = Path("Experiments", *runs())
    by_hand = subprocess.Popen(
        [sys.executable, "-Sc", "import fcntl, sys, time; f = open(sys.argv[1], 'w'); "
         "fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(60)", run / "log" / "lock"]
    )  # fmt: skip
    try:
        metrics, log = run / "log" / "metrics.jsonl", run / "log" / "log.txt"
        metrics.write_text("".join(metrics.read_text().splitlines(True)[:2]))
        (run / "weights" / "ckpt.pth").write_text("1")
        log.write_text(
            f"{log.read_text().splitlines()[0]}\n\n[123456 {by_hand.pid} "
            "2024/01/01-00:00:00] at it\n"
        )
        until(lambda: same.is_alive(run))
        assert do(argv) == 0 and "1 run by others" in terminal() and len(calls()) == 1
    finally:
        by_hand.kill()
        by_hand.wait()
    assert do(argv) == 0 and calls()[-1][1] == run.name


# --- Runs, in earnest -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_training_that_was_stopped_and_the_pass_that_needs_it(place, monkeypatch, capsys):
    """The first part of the training is the printed command, typed by a user."""
    argv = command(f"--kind both --schemes {PICKED}", epochs=2)
    sweep.main([*argv[: argv.index("--")], "--print", *argv[argv.index("--") :]])
    _, program, *words = shlex.split(capsys.readouterr().out.splitlines()[0])
    evaluate, calls_of_it = training.evaluate, []

    def interrupted(*arguments, **options):
        calls_of_it.append(1)
        if len(calls_of_it) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(training, "evaluate", interrupted)
        run(Path(program).name, *words)
    gc.collect()  # the frames of the exception hold the run's lock, which a process's end releases
    (training_run,) = (Path("Experiments", name) for name in runs())
    assert do(argv) == 0, terminal()
    assert len(runs()) == 2 and "resume   train" in terminal()
    assert epochs_of(training_run) == [1, 2]
    assert f"student {training_run}/weights/ckpt.pth" in terminal()
    before = inventory()
    assert do(argv) == 0 and "2 finished before" in terminal() and inventory() == before
