"""Several processes of one run on this machine, without torchrun: each a fork that has imported
everything already."""

import functools
import os
import signal
import time

import pytest
import torch
import torch.distributed as dist
from forked import start

from helper.processes import distributed

STORES = []


def keep_store(folder):
    """As torchrun does, in a process of its own, which finds a free port for it.

    Returns the port.
    """
    port = folder / f"port{len(STORES)}"

    def keep(_):
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        draft = port.with_suffix(".draft")
        draft.write_text(str(store.port))
        draft.rename(port)
        time.sleep(300)

    STORES.append(start(keep, "", folder, output=folder / f"store{len(STORES)}"))
    end = time.monotonic() + 60
    while not port.exists():
        assert time.monotonic() < end, STORES[-1].stderr
        time.sleep(0.005)
    return int(port.read_text())


@pytest.fixture(autouse=True)
def end_stores():
    yield
    for child in STORES:
        child.kill(signal.SIGKILL)
        child.wait()
    STORES.clear()


def join(rank, size, port):
    """Set the variables that torchrun, which keeps the store, sets for its processes."""
    values = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        "MASTER_PORT": port,
    }
    values |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    os.environ.update({name: str(value) for name, value in values.items()})


def start_all(program, words, folder, size, output, *, prepare=lambda rank: None):
    """The processes of a run, each called with its rank by `prepare` before it begins."""
    port = keep_store(folder)

    def begin(rank):
        join(rank, size, port)
        prepare(rank)

    return [
        start(
            program,
            words,
            folder,
            output=output.with_name(f"{output.name}{rank}"),
            prepare=functools.partial(begin, rank),
        )
        for rank in range(size)
    ]


def finish_all(program, words, folder, size, output):
    """(exit statuses, the lines on stderr of all)."""
    children = start_all(program, words, folder, size, output)
    statuses = [child.wait() for child in children]
    return statuses, own_lines(children)


def own_lines(children):
    """Lines on stderr of this project or of Python; PyTorch's C++ code has a log of its own
    there."""
    lines = [line for child in children for line in child.stderr.splitlines()]
    return [line for line in lines if line.startswith(("train_", "Traceback")) or "Error: " in line]


def together(work, size, folder):
    """The results of `work()` in `size` processes."""

    def main(_):
        distributed.start(torch.device("cpu"))
        torch.save(work(), folder / f"result{distributed.rank()}")

    statuses, errors = finish_all(main, "", folder, size, folder / "child")
    assert statuses == [0] * size, errors
    return [torch.load(folder / f"result{rank}") for rank in range(size)]
