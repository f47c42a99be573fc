"""The machine that benchmark.py runs on: its name, its ceiling, and the cost of something.

The cost is time and memory.
"""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scripts.bench.fast_loop import synchronize

MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}
MEMORY_STATUS, RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def timed_with_peak(action: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """(seconds, the most memory in use meanwhile in MB; 0 where the system does not tell)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif RESET_PEAK.exists():
        RESET_PEAK.write_text("5")
    start = time.perf_counter()
    action()
    seconds = time.perf_counter() - start
    if device.type == "cuda":
        return seconds, torch.cuda.max_memory_allocated() / 1e6
    lines = MEMORY_STATUS.read_text().splitlines() if MEMORY_STATUS.exists() else []
    return seconds, next(
        (int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM")), 0.0
    )


def measure_ceilings(device: torch.device) -> dict[str, float]:
    """10^9 FLOPs a second of the best of two large matrix products, by precision.

    A plain one, and a 1x1 convolution: on the CPU two libraries carry them out.
    """
    ceilings = {}
    for dtype in (torch.float32, torch.bfloat16):
        for size in (SMALL_SIZE, MATMUL_SIZE[device.type]):
            seconds = seconds_of_products(size, dtype, device)
            ceilings[str(dtype).removeprefix("torch.")] = 2 * size**3 / seconds / 1e9
            if (
                2 * size**3 / seconds < 1e10
            ):  # a processor without bfloat16 would take minutes for the large ones
                break
    return ceilings


SMALL_SIZE = 256


def seconds_of_products(size: int, dtype: torch.dtype, device: torch.device) -> float:
    """The shortest of some products of two (size, size) matrices."""
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    pixels = a.t().reshape(1, size, -1, 32).contiguous(memory_format=torch.channels_last)
    kernels = b[:, :, None, None]
    products = (lambda: a @ b, lambda: torch.nn.functional.conv2d(pixels, kernels))
    return min(
        timed_with_peak(lambda p=p: (p(), synchronize(device)), device)[0] for p in products * 6
    )


def describe_machine(device: torch.device) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "processor": next(
            (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
            platform.machine(),
        ),
        "bfloat16_instructions": [flag for flag in flags if "bf16" in flag],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
