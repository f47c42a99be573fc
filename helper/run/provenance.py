"""The code, packages and device of a run.

With the options and the seed, this is what it takes to repeat a number.
"""

import datetime
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from helper import VERSION

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "tensorboard", "tqdm", "pillow")
ROOT = Path(__file__).resolve().parents[2]


def provenance(device: torch.device) -> dict[str, Any]:
    """As plain values, for a JSON file."""
    return {
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": sys.argv,
        "version": VERSION,
        "commit": commit(ROOT),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": describe_device(device),
    }


def commit(root: Path) -> str | None:
    """The git commit of the code at `root`, "-dirty" behind it if files were changed since.

    None without git.
    """
    try:
        if Path(git(root, "rev-parse", "--show-toplevel")) != root:
            return None  # a copy without its history, within someone else's
        changed = git(root, "status", "--porcelain", "--untracked-files=no")
        return git(root, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def git(root: Path, *words: str) -> str:
    """The output of git."""
    command = ["git", "-C", str(root), *words]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=10
    ).stdout.strip()


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe_device(device: torch.device) -> str:
    """Its kind and name, and what decides the rounding there."""
    if device.type == "cuda":
        return (
            f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, cuDNN"
            f" {torch.backends.cudnn.version()}"
        )
    return f"cpu, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
