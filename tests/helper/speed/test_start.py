"""The start of a process: precision, memory, imports."""

import ctypes
import os
import subprocess
import sys

import pytest
import torch
from command_line import TINY, run
from forked import finish
from places import ROOT

from helper.cli.flags import PRECISIONS
from helper.setup.machine import select_device
from helper.speed import memory


@pytest.mark.parametrize("name", PRECISIONS)
def test_precision(name, monkeypatch):
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        select_device("cpu", name)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        select_device("cuda", name)
        assert torch.get_float32_matmul_precision() == ("highest" if name == "default" else name)
        assert torch.backends.cudnn.allow_tf32 is (name != "highest")
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def test_unknown_precision(capsys):
    with pytest.raises(SystemExit) as exit_:
        run("train_teacher.py", TINY, "--precision highe")
    assert exit_.value.code == 2 and "Did you mean 'high'" in capsys.readouterr().err


def in_new_process(code, folder=None):
    """Its output, working in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_a_script_imports_what_it_needs():
    """Each of these takes half a second or more, of a start that should take four."""
    heavy = "torchvision torch._dynamo torch.utils.tensorboard tensorboard matplotlib scipy sympy"
    assert (
        in_new_process(f"import sys, train_student; print(set({heavy.split()}) & set(sys.modules))")
        == "set()\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the settings are those of glibc")
def test_memory_settings_are_taken(tmp_path):
    """In a child process: they stay as long as a process lives."""

    def take(_):
        memory.keep_freed_memory()
        libc = ctypes.CDLL(None)
        print([libc.mallopt(*setting) for setting in memory.SETTINGS.items()])

    status, output, _ = finish(take, "", tmp_path, output=tmp_path / "child")
    assert (status, output) == (0, "[1, 1, 1]\n")
