"""--amp on a CPU: whether bfloat16 pays there. On some processors it takes longer than float32."""

import time

import torch
import torch.nn.functional as F

from helper.speed.cores import workers

ROUNDS = 5


def warn_if_slow(device: torch.device, *, amp: bool) -> list[str]:
    """A warning if `amp` makes the convolutions of this CPU slower.

    Measured in some hundredths of a second.

    The processor's list of instructions does not tell: avx512_bf16 is twice as fast as float32 on
    some processors and half as fast on others.
    """
    if not amp or device.type != "cpu":
        return []
    core = workers(
        torch.get_num_threads()
    )  # one waits for no other, which a busy machine may hold up
    dtypes = (torch.float32, torch.bfloat16)
    seconds = {dtype: core.submit(seconds_of_convolution, dtype).result() for dtype in dtypes}
    times_as_long = seconds[torch.bfloat16] / seconds[torch.float32]
    if times_as_long < 1.1:
        return []
    return [
        f"warning: --amp: this CPU takes {times_as_long:.1f} times as long for a bfloat16"
        " convolution as for a float32 one, so the run is faster without"
    ]


def seconds_of_convolution(dtype: torch.dtype) -> float:
    """Seconds of a 3x3 convolution of 16 images of 16x16, 64 channels: the shortest of a few."""
    images = torch.ones(16, 64, 16, 16, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.ones(64, 64, 3, 3, dtype=dtype)
    seconds = []
    with torch.inference_mode():
        for _ in range(1 + ROUNDS):  # the first makes the program
            start = time.perf_counter()
            F.conv2d(images, weight, padding=1)
            seconds.append(time.perf_counter() - start)
    return min(seconds)
