"""The run's folder: the head of log.txt, one folder for each run, metrics that any JSON reader
takes."""

import datetime
import errno
import json
import os
import re
import socket
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from helper.cli.options import parse_student
from helper.errors import UserError
from helper.run import folder as run_folder
from helper.run.files import Lock
from helper.run.folder import RunFolder, command_line, user_and_ip
from helper.run.resume import run_root

OPTIONS = {"zeta": None, "Alpha": 1, "alpha": 0.9, "beta": "a b", "Utils.on": True, "list": [1, 2]}
NAME = re.compile(r"^try_SERVER\d{3}-\d{8}-\d{6}$")


@pytest.fixture
def run(tmp_path):
    folder = RunFolder.create(tmp_path / "Experiments", "try", OPTIONS)
    yield folder
    folder.close()


@pytest.fixture
def stopped_clock(monkeypatch):
    """Everything happens in one second, shortly before midnight."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls):
            return cls(2024, 2, 28, 23, 59, 58)

    monkeypatch.setattr(
        run_folder, "datetime", SimpleNamespace(datetime=Clock, timedelta=datetime.timedelta)
    )


def log_of(run):
    return (run.path / "log" / "log.txt").read_text()


def metrics_of(run):
    return [
        json.loads(line) for line in (run.path / "log" / "metrics.jsonl").read_text().splitlines()
    ]


# --- The head -------------------------------------------------------------------------------------


@pytest.mark.parametrize("visible", [None, "1", "0,1", ""])
def test_head_of_the_log(tmp_path, monkeypatch, visible):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "sys.argv", ["train_student.py", "--lw_mix", "[1,0,1]", "--note", "two words"]
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    prefix = {None: "", "": "CUDA_VISIBLE_DEVICES='' "}.get(
        visible, f"CUDA_VISIBLE_DEVICES={visible} "
    )
    run = RunFolder.create(tmp_path, "try", OPTIONS)
    run.log("first")
    run.close()
    head, first = log_of(run).rsplit("\n", 2)[:2]
    assert head.splitlines() == [
        f"hostname: {socket.gethostname()}  userip: {user_and_ip()}",
        f"cd {tmp_path}",
        f"{prefix}python train_student.py --lw_mix '[1,0,1]' --note 'two words'",
        "",
        (
            "('Alpha': 1) ('alpha': 0.9) ('beta': 'a b') ('list': [1, 2]) ('Utils.on': True) "
            "('zeta': None)"
        ),
    ]
    assert first.endswith("] first")


def test_command_line_can_be_pasted_into_a_shell(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("sys.argv", ["train_student.py", "--path_t", "a folder/$x*.pth"])
    assert command_line() == "python train_student.py --path_t 'a folder/$x*.pth'"


def test_user_and_ip_without_user_or_network(monkeypatch):
    assert re.fullmatch(r"[^@ ]+@\d+\.\d+\.\d+\.\d+", user_and_ip())

    class NoRoute:
        def __init__(self, *arguments):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def connect(self, address):
            raise OSError("Network is unreachable")

    def nobody():
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(run_folder.socket, "socket", NoRoute)
    monkeypatch.setattr(run_folder.getpass, "getuser", nobody)
    assert user_and_ip() == f"{os.getuid()}@127.0.0.1"


def test_options_are_kept_as_json_too(run):
    assert json.loads((run.path / "log" / "args.json").read_text()) == OPTIONS
    assert sorted(path.name for path in (run.path / "log").iterdir()) == [
        "args.json",
        "lock",
        "log.txt",
        "metrics.jsonl",
    ]


# --- Lines ----------------------------------------------------------------------------------------


def test_lines_are_stamped(run, capsys):
    before = datetime.datetime.now().replace(microsecond=0)
    run.log("Acc1 70.1234")
    run.log("second")
    lines = log_of(run).splitlines()[-2:]
    for line, text in zip(lines, ("Acc1 70.1234", "second")):
        clock, pid, day, time, rest = re.fullmatch(
            r"\[(\d{6}) (\d+) (\d{4}/\d\d/\d\d)-(\d\d:\d\d:\d\d)\] (.*)", line
        ).groups()
        assert clock == run.path.name[-6:] and int(pid) == os.getpid() and rest == text
        moment = datetime.datetime.strptime(f"{day} {time}", "%Y/%m/%d %H:%M:%S")
        assert before <= moment <= datetime.datetime.now()
    assert capsys.readouterr().out.splitlines() == lines


def test_lines_are_on_disk_at_once(run):
    run.log("written")
    run.record("kind", value=1)
    assert log_of(run).endswith("] written\n") and metrics_of(run) == [{"kind": "kind", "value": 1}]


def test_metrics_are_strict_json(run):
    run.record("epoch", a=float("nan"), b=float("inf"), c=-float("inf"), d=0.1, e=3, f=None, g="x")
    run.record("summary", t_stddev=0.005)
    (text,) = {
        line
        for line in (run.path / "log" / "metrics.jsonl").read_text().splitlines()
        if "epoch" in line
    }

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(text, parse_constant=refuse) == {
        **{"kind": "epoch", "a": None, "b": None, "c": None},
        **{"d": 0.1, "e": 3, "f": None, "g": "x"},
    }
    assert metrics_of(run)[1] == {"kind": "summary", "t_stddev": 0.005}


# --- One folder for each run ----------------------------------------------------------------------


def test_names_and_parts(run):
    assert NAME.match(run.path.name) and run.path.parent.name == "Experiments"
    assert {path.name for path in run.path.iterdir()} == {"log", "weights", "gen_img"}
    assert (run.weights, run.images) == (run.path / "weights", run.path / "gen_img")
    server = int(run.path.name[10:13])
    assert 0 <= server <= 999


def test_the_name_tells_the_moment(tmp_path, stopped_clock):
    run = RunFolder.create(tmp_path, "try", {})
    assert run.path.name.endswith("-20240228-235958") and run.clock == "235958"
    run.close()


def test_two_runs_in_one_second_get_two_folders(tmp_path, stopped_clock):
    runs = [RunFolder.create(tmp_path, "try", {}) for _ in range(3)]
    assert [run.path.name[-15:] for run in runs] == [
        "20240228-235958",
        "20240228-235959",
        "20240229-000000",
    ]
    for number, run in enumerate(runs):
        run.log(f"I am {number}")
        run.close()
    assert [log_of(run).count("I am") for run in runs] == [1, 1, 1]


def test_processes_starting_at_once_get_a_folder_each(tmp_path, stopped_clock):
    count = 8
    start, release = os.pipe()
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(release)
                os.read(start, 1)  # until the parent closes its end
                run = RunFolder.create(tmp_path, "try", {})
                run.record("mine", pid=os.getpid())
                run.close()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    os.close(start)
    os.close(release)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * count
    folders = list(tmp_path.iterdir())
    assert len(folders) == count and all(NAME.match(folder.name) for folder in folders)
    owners = [
        json.loads((folder / "log" / "metrics.jsonl").read_text())["pid"] for folder in folders
    ]
    assert sorted(owners) == sorted(children)
    assert all(
        (folder / "log" / "log.txt").read_text().count("hostname:") == 1 for folder in folders
    )


def test_debug_runs_go_elsewhere():
    assert str(run_root(parse_student([]))) == "Experiments"
    assert str(run_root(parse_student(["--debug"]))) == "Debug_Dir"


def test_a_disk_that_refuses_is_one_line(tmp_path):
    (tmp_path / "Experiments").write_text("a file")
    with pytest.raises(UserError, match=r"cannot make a run folder in .*Experiments: File exists"):
        RunFolder.create(tmp_path / "Experiments", "try", {})
    with pytest.raises(UserError, match="File name too long"):
        RunFolder.create(tmp_path / "there", "x" * 300, {})


def test_a_folder_of_somebody_else_is_told_with_what_to_type(tmp_path, monkeypatch):
    def closed(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "mkdir", closed)
    with pytest.raises(UserError, match="Permission denied: go to a folder where you may write"):
        RunFolder.create(tmp_path / "Experiments", "try", {})


def test_reopen_appends(run):
    run.log("before")
    run.record("epoch", epoch=1)
    run.close()
    head = log_of(run)
    again = RunFolder.reopen(run.path, Lock(run.path), {}, 0)
    again.log("after")
    again.record("epoch", epoch=2)
    again.close()
    assert log_of(run).startswith(head)
    added = log_of(run)[len(head) :].splitlines()
    assert [line.split("] ", 1)[1] for line in added] == [f"resumed: {command_line()}", "after"]
    assert all(line.startswith(f"[{run.path.name[-6:]} ") for line in added)
    assert [entry["epoch"] for entry in metrics_of(run)] == [1, 2]
    assert list(run.path.parent.iterdir()) == [run.path]
    assert json.loads((run.path / "log" / "args.json").read_text()) == OPTIONS


# --- Pictures and curves --------------------------------------------------------------------------


def test_pictures_are_written_on_demand(run):
    images = torch.randint(0, 256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    run.picture("batch", images, 0)
    assert not list(run.images.iterdir())
    run.picture("second_view", images, 50, as_png=True)
    (path,) = run.images.iterdir()
    assert path.name == "second_view_step50.png"
    side_by_side = torch.cat(list(images), dim=2)  # (3, 8, 4 * 8)
    assert np.array_equal(np.asarray(Image.open(path)), side_by_side.permute(1, 2, 0).numpy())


def test_curves_reach_tensorboard(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step in (1, 2):
        run.scalars(step, {"test/acc1": 10.0 * step, "lr": 0.5})
    run.picture("second_view", torch.zeros(4, 3, 8, 8, dtype=torch.uint8), 3)
    run.close()
    events = EventAccumulator(str(run.path / "tb"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("test/acc1")] == [
        (1, 10.0),
        (2, 20.0),
    ]
    assert [event.value for event in events.Scalars("lr")] == [0.5, 0.5]
    assert [event.step for event in events.Images("second_view")] == [3]
