"""Sweeps in processes of their own, and a stub in place of the training script."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from helper.cli.options import parse_student
from scripts.sweep import command_line as sweep
from scripts.sweep import jobs as sweep_jobs

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
metrics, log = open(run / "log" / "metrics.jsonl", "a"), open(run / "log" / "log.txt", "a")
def write(file, text):
    file.write(text + "\n")
    file.flush()
if not resumed:  # last and at once: another stub reads all files of a run that has it
    (run / "log" / "args.new").write_text(json.dumps(options))
    os.replace(run / "log" / "args.new", run / "log" / "args.json")
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
    """The calls of the stub: GPU, resumed folder, words."""
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


def until(condition, seconds=240):
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, terminal()
        time.sleep(0.02)


def epochs_of(run):
    lines = [json.loads(line) for line in (run / "log" / "metrics.jsonl").read_text().splitlines()]
    return [line["epoch"] for line in lines if line["kind"] == "epoch"]
