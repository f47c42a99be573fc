"""The machine that a run is to use: its device, and where its random draws come from."""

import os

import numpy as np
import torch

from helper.errors import UserError


def select_device(name: str, precision: str = "default") -> torch.device:
    """auto: the GPU if there is one; its convolutions are made deterministic, its float32 as
    precise as asked for.

    UserError if a GPU is asked for where none is.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and (wanted := gpu_that_was_meant()):
            raise UserError(
                f"--device auto: {wanted}, but PyTorch finds no GPU that it can use; --device cpu"
                " runs on the processor"
            )
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no GPU here. Choices: auto, cpu")
    if name == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        if "LOCAL_RANK" in os.environ:  # one of several processes on this machine: each its own
            name = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
            torch.cuda.set_device(name)
        torch.backends.cudnn.allow_tf32 = precision != "highest"
        torch.set_float32_matmul_precision("highest" if precision == "default" else precision)
    return torch.device(name)


def gpu_that_was_meant() -> str:
    """Why a GPU is expected here, in words; empty where none is, or where CUDA_VISIBLE_DEVICES
    hides all."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"CUDA_VISIBLE_DEVICES={visible} names one" if visible not in ("", "-1") else ""
    return "this machine has one (/dev/nvidia0)" if os.path.exists("/dev/nvidia0") else ""


def make_generators(seed: int) -> dict[str, torch.Generator]:
    """Independent CPU generators, all from one seed.

    The data have their own, so runs that differ in the second view see the same batches.
    """
    names = ("weights", "data", "views", "methods")
    states = np.random.SeedSequence(seed).generate_state(len(names), dtype=np.uint64)
    return {
        name: torch.Generator().manual_seed(int(state >> 1)) for name, state in zip(names, states)
    }
