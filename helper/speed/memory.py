"""Settings of how the process takes memory and gives it back, for the C library glibc."""

import ctypes
import sys

MEGABYTE = 2**20
SETTINGS = {-1: 512 * MEGABYTE, -3: 32 * MEGABYTE, -8: 1}
"""malloc.h: M_TRIM_THRESHOLD, keep up to so much of what was freed; M_MMAP_THRESHOLD, below so much
it may be kept; M_ARENA_MAX, one heap for all threads."""


def keep_freed_memory() -> None:
    """Let tensors that come and go in every step find their memory where the last step left it.

    Left alone, glibc gives pages back and takes them again, zeroed, many times a step (a tenth of
    the time of a float32 T. stddev pass on two cores), and keeps leftovers in a heap for each
    thread (60 to 150 MB). To be called before there are threads.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        for parameter, value in SETTINGS.items():
            if mallopt is not None:
                mallopt(parameter, value)
