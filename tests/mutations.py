"""Malformed inputs without end: files with bytes turned, cut, doubled or exchanged, and senseless
options."""

import importlib
import json
import pickle
import shutil
import sys

import torch
from fake_cifar import write_cifar
from fake_images import write_tiny_imagenet
from forked import finish

from helper.errors import one_line_errors

SYNTHETIC = (
    "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 48 --limit_test 20 "
    "--batch_size 16 --device cpu"
)
JUNK = (
    "", "0", "-1", "1e400", "nan", "-inf", "1e-400", "999999999999999999999", "0x10", "1,2,3",
    "[1,0,1", "[1,0,1,1]", "[a,b,c]", "[nan,0,1]", "kd", "kd+", "+", "None", "True",
    "../../etc/passwd", "/dev/null", "/", "~", "$(id)", "`id`", "; id", "\n", "a\nb", "\x1b[31m",
    "\udcff", "é", "🙂", "a" * 300, "a/b", "%s%n", "{}", "0:1,", "0:1,5:x", "1:2:3", "--", "-",
)  # fmt: skip


def mutated(content: bytes, draw) -> bytes:
    """A few small damages, or a large one."""
    content = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5, 30))):
        place = draw.randrange(len(content) + 1)
        kind = draw.randrange(6)
        if kind == 0 and content:
            content[place % len(content)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            content[place : place + draw.choice((1, 4, 100))] = draw.randbytes(
                draw.choice((1, 4, 100))
            )
        elif kind == 2:
            del content[place : place + draw.choice((1, 10, 1000))]
        elif kind == 3:
            content[place:place] = content[place : place + draw.choice((1, 50))]
        elif kind == 4:
            content[place:place] = draw.choice(
                (b"\0", b"\n", b"nan", b"\xff\xfe", b"{", b'"', b"-1", b".")
            )
        elif draw.random() < 0.3:
            del content[place:]
    return bytes(content)


def mutated_tensors(content: dict, draw) -> dict:
    """A whole file, with values in it that are none of a network's."""
    content = dict(content, model=dict(content["model"]))
    key = draw.choice(list(content["model"]))
    value = content["model"][key]
    content["model"][key] = draw.choice((
        lambda: value.float() * float("nan"), lambda: value.to(torch.complex64),
        lambda: value.bool(), lambda: value.flatten()[:0], lambda: value.unsqueeze(0),
        lambda: value.to_sparse() if value.ndim else value, lambda: "text", lambda: None,
        lambda: value.double() * 1e300,
    ))()  # fmt: skip
    if draw.random() < 0.5:
        other = draw.choice(
            ("model", "epoch", "optimizer", "generators", "extra", "arch", "step", "num_classes")
        )
        content[other] = draw.choice(
            (None, -1, 10**30, "x", [], {}, {"a": {}}, torch.zeros(3), float("nan"))
        )
    return content


class Calls:
    """Pickles as a call."""

    def __init__(self, draw, canary):
        self.parts = draw.choice((
            (eval, (f"open({str(canary)!r}, 'w')",)), (exec, (f"open({str(canary)!r}, 'w')",)),
            (open, (str(canary), "w")), (shutil.copy, (__file__, str(canary))),
            (torch.save, ({}, str(canary))),
        ))  # fmt: skip

    def __reduce__(self):
        return self.parts


def script(name):
    """`python scripts/<name>.py`, as a function of its words."""
    module = importlib.import_module(f"scripts.{name}")

    def program(words):
        sys.argv = [name, *words]
        with one_line_errors(module.PROGRAM):
            module.main(sys.argv[1:])

    program.__name__ = name
    return program


def mutated_inputs(folder, teacher, draw, count):
    """(what it is, program, words), `count` times; what was refused must not have run: there is no
    canary after it."""
    canary = folder / "canary"
    kinds = {
        "checkpoint": checkpoints(folder, teacher, draw, canary),
        "options": options(draw, teacher),
        "data": data_files(folder, draw, canary),
        "resumed run": resumed_runs(folder, teacher, draw),
        "logs": logs(folder, teacher, draw),
        "pictures": pictures(folder, draw),
    }
    names = draw.choices(list(kinds), weights=(5, 6, 3, 4, 3, 1), k=count)
    for name in names:
        what, program, words = next(kinds[name])
        yield f"{name}: {what}", program, words
        assert not canary.exists(), f"{name}: {what}: it was executed"


def checkpoints(folder, teacher, draw, canary):
    """As a teacher."""
    path, whole = folder / "resnet14_vanilla" / "mutated.pth", teacher.read_bytes()
    path.parent.mkdir()
    content = torch.load(teacher, weights_only=True)
    words = f"{SYNTHETIC} --path_t {path} --epochs 1 --dry_run --test_teacher"
    while True:
        kind = draw.choice(("bytes", "bytes", "tensors", "calls", "pickle"))
        if kind == "bytes":
            path.write_bytes(mutated(whole, draw))
        elif kind == "tensors":
            torch.save(mutated_tensors(content, draw), path)
        elif kind == "calls":
            torch.save({**content, "note": Calls(draw, canary)}, path)
        else:
            path.write_bytes(
                mutated(pickle.dumps({"model": Calls(draw, canary)}, draw.randrange(2, 6)), draw)
            )
        yield kind, "train_student.py", words


def options(draw, teacher):
    """A flag or two with a value that makes no sense; the good command else."""
    from helper.cli.flags import student_parser, teacher_parser

    flags = {
        program: [
            flag
            for action in parser._actions
            for flag in action.option_strings
            if flag not in ("-h", "--help")
        ]
        for program, parser in (
            ("train_student.py", student_parser()),
            ("train_teacher.py", teacher_parser()),
        )
    }
    while True:
        program = draw.choice(list(flags))
        words = [*SYNTHETIC.split(), "--epochs", "1", "--dry_run"]
        if program == "train_student.py":
            words += ["--path_t", str(teacher), "--lw_mix", "[1,0,1]", "--mix_mode", "cutmix"]
        for _ in range(draw.choice((1, 1, 2))):
            flag = draw.choice(flags[program])
            if flag in ("--data_root", "--cache_dir", "--debug"):
                continue
            words += [flag, *draw.choices(JUNK, k=draw.choice((0, 1, 1, 1, 2)))]
        if draw.random() < 0.1:
            words[draw.randrange(len(words))] = draw.choice(JUNK)
        yield repr(words), program, [*words, "--dry_run"]


def data_files(folder, draw, canary):
    """CIFAR-100."""
    root = folder / "cifar"
    write_cifar(root)
    paths = sorted((root / "cifar-100-python").iterdir())
    whole = {path: path.read_bytes() for path in paths}
    words = (
        f"--dataset cifar100 --data_root {root} --model resnet8 --device cpu --epochs 1 --dry_run"
    )
    while True:
        for path, content in whole.items():
            path.write_bytes(content)
        path = draw.choice([path for path in paths if path.name != "meta"])
        if draw.random() < 0.15:
            path.write_bytes(pickle.dumps({"data": Calls(draw, canary)}, 2))
        else:
            path.write_bytes(mutated(whole[path], draw))
        yield path.name, "train_teacher.py", words


def finished_run(folder, teacher, name):
    """(a run folder, the words that made it), in a folder of its own."""
    home = folder / name
    home.mkdir()
    words = (
        f"{SYNTHETIC} --path_t {teacher} --model_s resnet8 --lw_mix [1,0,1] --mix_mode flip "
        "--seed 1 --utils.check_ce_var"
    )
    status, _, errors = finish(
        "train_student.py", f"{words} --epochs 2", home, output=folder / "child"
    )
    assert status == 0, errors
    (run,) = (home / "Experiments").iterdir()
    return run, words


def resumed_runs(folder, teacher, draw):
    """Each file of a run folder, and the values in its checkpoint.

    It has two epochs, and gets a third.
    """
    whole, words = finished_run(folder, teacher, "resumed")
    home = folder / "mutated"
    while True:
        shutil.rmtree(home, ignore_errors=True)
        run = home / "Experiments" / whole.name
        shutil.copytree(whole, run)
        names = ("weights/ckpt.pth", "weights/ckpt.previous.pth", "log/args.json",
                 "log/metrics.jsonl", "log/log.txt", "log/lock",
                 "log/provenance.jsonl")  # fmt: skip
        name = draw.choice(names)
        if draw.random() < 0.3:
            name = "values"
            for path in (run / "weights").glob("ckpt*"):
                torch.save(mutated_tensors(torch.load(path, weights_only=True), draw), path)
        elif draw.random() < 0.2 and name.endswith("json"):
            value = draw.choice(([], 1, None, {"ckpt.pth": 1}, {"program": 3}))
            (run / name).write_text(json.dumps(value))
        else:
            for each in {name, draw.choice(names)}:
                (run / each).write_bytes(mutated((run / each).read_bytes(), draw))
        flag = f"--resume_student {run}/weights/ckpt.pth"
        yield name, "train_student.py", f"{words} --epochs 3 {flag}"


def logs(folder, teacher, draw):
    """Inputs of tables and figures."""
    whole, _ = finished_run(folder, teacher, "logs")
    home, out = folder / "read", folder / "out"
    out.mkdir()
    programs = {
        script("collect_results"): f"{home} --csv {out}/t.csv",
        script("plot_correlation"): f"{home} -o {out}/c.png",
        script("report"): f"{home} -o {out}/report.html",
    }
    while True:
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(whole / "log", home / whole.name / "log")
        for _ in range(draw.choice((1, 1, 3))):
            path = (
                home / whole.name / "log" / draw.choice(("log.txt", "metrics.jsonl", "args.json"))
            )
            path.write_bytes(mutated(path.read_bytes(), draw))
        program = draw.choice(list(programs))
        yield program.__name__, program, programs[program]


def pictures(folder, draw):
    """Tiny ImageNet's files."""
    root = folder / "tiny"
    write_tiny_imagenet(root, per_class=1, val=3)
    base = root / "tiny-imagenet-200"
    images = sorted(base.glob("train/*/images/*.JPEG"))
    words = (
        f"--dataset tinyimagenet --data_root {root} --model resnet8 --device cpu --epochs 1 "
        "--num_workers 0 --dry_run"
    )
    while True:
        path = draw.choice((images[0], base / "val" / "val_annotations.txt", base / "wnids.txt"))
        if path.exists():
            content = path.read_bytes()
            path.unlink()  # it may be a link to another
            path.write_bytes(mutated(content, draw))
            yield path.name, "train_teacher.py", words
            path.write_bytes(content)
