"""Threads that share a CPU's cores among them, a few cores each.

Cores that share every operation wait for each other at the end of each; threads that have work of
their own do not.
"""

import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import torch


def workers(count: int) -> ThreadPoolExecutor:
    """`count` threads that have an equal share each of PyTorch's cores here, at least one."""
    return _workers(os.getpid(), torch.get_num_threads(), count)


@functools.cache
def _workers(process: int, cores: int, count: int) -> ThreadPoolExecutor:
    """`process`: whose they are; a fork does not inherit them."""
    started = threading.Barrier(count)

    def start() -> None:
        # the first use sets a thread's default, over what it was told before
        torch.get_num_threads()
        torch.set_num_threads(max(1, cores // count))
        started.wait()

    pool = ThreadPoolExecutor(count, "cores", start)
    list(pool.map(int, range(count)))
    torch.set_num_threads(cores)  # of this thread, and what further threads begin with
    return pool
