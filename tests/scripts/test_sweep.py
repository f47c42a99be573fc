"""The sweep: its commands, and what it does about runs that are finished, interrupted, failed or
someone else's."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from augment import mix_modes
from helper.cli.options import parse_student
from helper.run.checkpoint import save_checkpoint
from models import build_model

import scripts.sweep_line as sweep_line
from helper.errors import one_line_errors
from helper.run import same
from scripts.sweep import command_line as sweep
from scripts.sweep import jobs as sweep_jobs

SCRIPTS = Path(sweep_line.__file__).parent
PICKED = "cutmix_pick_student_entropy"
TINY = "--num_classes 5 --img_size 16 --limit_train 64 --limit_test 24 --batch_size 16 --device cpu"
KILL, INTERRUPT, TERMINATE = signal.SIGKILL, signal.SIGINT, signal.SIGTERM

STUB = r'''#!{python} -S
"""In place of a Python that runs train_student.py: the same files, a hundredth of the time."""
import json, os, pathlib, sys, time
_, *words = sys.argv[1:]
jobs = json.loads(pathlib.Path("jobs.json").read_text())
resumed = None
assert words[-2:] == ["--resume_ExpID", "same"]
words = words[:-2]
if words[-2] == "--finetune_student":
    assert pathlib.Path(words[-1]).is_file()
    words = words[:-2]
options = jobs[" ".join(words)] | {{"program": "train_student.py"}}
for head in pathlib.Path("Experiments").glob("*/log/args.json"):
    before = head.parent.parent
    ends = (head.parent / "log.txt").read_text().strip().endswith("done, see here")
    saved = (before / "weights/ckpt.pth").exists()
    if json.loads(head.read_text()) == options and saved and not ends:
        resumed = before.name
with open("calls.txt", "a") as file:
    file.write(json.dumps([os.environ.get("CUDA_VISIBLE_DEVICES"), resumed, *sys.argv[2:]]) + "\n")
if options["model_s"] == "resnet14":
    print("Traceback\nRuntimeError: out of luck")
    sys.exit(3)
new = f"{{options['mix_mode']}}-{{os.getpid()}}-{{time.time_ns()}}"
run = pathlib.Path("Experiments", resumed or new)
for name in ("log", "weights"):
    (run / name).mkdir(parents=True, exist_ok=True)
if not resumed:
    (run / "log" / "args.json").write_text(json.dumps(options))
metrics, log = open(run / "log" / "metrics.jsonl", "a"), open(run / "log" / "log.txt", "a")
def write(file, text):
    file.write(text + "\n")
    file.flush()
if not resumed:
    write(log, f"hostname: {{os.uname().nodename}}  userip: u\n")
write(log, f"[123456 {{os.getpid()}} 2024/01/01-00:00:00] begins")
write(metrics, json.dumps({{"kind": "job", "epochs": options["epochs"]}}))
saved = run / "weights" / "ckpt.pth"
first = int(saved.read_text()) + 1 if resumed else 1
for epoch in range(first, options["epochs"] + 1):
    time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
    if not options["fix_student"]:
        write(metrics, json.dumps({{"kind": "epoch", "epoch": epoch}}))
        saved.with_suffix(".new").write_text(str(epoch))
        os.replace(saved.with_suffix(".new"), saved)
if options["fix_student"]:
    write(metrics, json.dumps({{"kind": "summary", "t_stddev": 0.005}}))
write(log, "[123456 1 2024/01/01-00:00:00] done, see here")
'''


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with teachers."""
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    weights = build_model("resnet8", num_classes=5, img_size=16, generator=generator).state_dict()
    save_checkpoint(tmp_path / "t" / "resnet8_vanilla" / "ckpt_epoch_240.pth", {"model": weights})
    (tmp_path / "stub").write_text(STUB.format(python=sys.executable))
    (tmp_path / "stub").chmod(0o755)
    return tmp_path


def command(words="", extra="", epochs=3):
    return [
        *"--dataset synthetic --teachers t --pairs resnet8/resnet8 --trials 1".split(),
        *words.split(), "--", *TINY.split(), "--epochs", str(epochs), *extra.split(),
    ]  # fmt: skip


def begin(argv, main=sweep.main):
    """A sweep in a process group of its own; this process has imported everything already."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            os.setsid()
            output = os.open("terminal.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            status = main(argv) or 0
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)
    return pid


def end(pid):
    """The exit status; minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def do(argv):
    return end(begin(argv))


def with_stub(argv):
    """The command with the stub as its Python, which is told each job's options."""
    split = argv.index("--")
    options = sweep.parse(argv[:split])
    options.status = True  # looks for no teacher
    jobs = sweep_jobs.make_jobs(options, argv[split + 1 :])
    before = json.loads(Path("jobs.json").read_text()) if Path("jobs.json").exists() else {}
    later = ["--finetune_student", "x"]
    known = {
        " ".join(j.words): vars(parse_student([*j.words, *(later if j.kind == "stddev" else [])]))
        for j in jobs
    }
    Path("jobs.json").write_text(json.dumps(before | known, default=str))
    return ["--python", "./stub", *argv]


def calls():
    """What the stub was called with: GPU, resumed folder, words."""
    return [json.loads(line) for line in Path("calls.txt").read_text().splitlines()]


def terminal():
    return Path("terminal.txt").read_text()


def runs():
    return sorted(path.name for path in Path("Experiments").iterdir() if path.name[0] != ".")


def inventory():
    """Each run folder's files, with what tells whether one was written again."""
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for name in runs()
        for path in Path("Experiments", name).rglob("*")
    }


def until(condition, seconds=60):
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, terminal()
        time.sleep(0.02)


def epochs_of(run):
    lines = [json.loads(line) for line in (run / "log" / "metrics.jsonl").read_text().splitlines()]
    return [line["epoch"] for line in lines if line["kind"] == "epoch"]


# --- Commands -------------------------------------------------------------------------------------


def printed(script, *words):
    """The words are those of no run that may lie in the repository's Experiments/."""
    process = subprocess.run(
        ["sh", str(SCRIPTS / script), "--print", *words, "--", "--limit_train", "12321"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
    )
    assert process.returncode == 0, process.stderr
    return [shlex.split(line) for line in process.stdout.splitlines()], process.stderr.splitlines()


def test_the_training_script_prints_every_pair_scheme_and_trial():
    commands, complaints = printed("S_test_loss_different_DA_cifar100.sh", "--trials", "2")
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


def test_the_measuring_script_prints_the_passes_that_need_no_student():
    commands, complaints = printed("T_stddev_different_DA_tinyimagenet.sh")
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
    mine, extra = (
        ("", words.removeprefix("-- "))
        if words.startswith("-- ")
        else (words.removesuffix(" --"), "")
    )
    with pytest.raises(SystemExit) as ended, one_line_errors(sweep.PROGRAM):
        sweep.main(command(mine, extra))
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


# --- Runs, in earnest -----------------------------------------------------------------------------


def test_a_training_that_was_killed_and_the_pass_that_needs_it(place):
    argv = command(f"--kind both --schemes {PICKED}", epochs=12)
    pid = begin(argv)
    until(lambda: list(Path().glob("Experiments/*/weights/*_best.pth")))
    (training,) = (Path("Experiments", name) for name in runs())
    os.killpg(pid, KILL)
    assert end(pid) == -KILL and epochs_of(training)[-1] < 12
    assert do(argv) == 0, terminal()
    assert len(runs()) == 2 and "resume   train" in terminal()
    assert sorted(set(epochs_of(training))) == list(range(1, 13))
    assert f"student {training}/weights/ckpt.pth" in terminal()
    before = inventory()
    assert do(argv) == 0 and "2 finished before" in terminal() and inventory() == before
