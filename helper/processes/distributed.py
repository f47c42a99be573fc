"""One run on several processes, started by torchrun: the networks' passes are divided.

All else is done by every process.

Each process draws the same random numbers and makes the same batches and views, those of a run of
one process. It puts its part of the rows through the networks; then all have all rows of the
results (`gathered`), and compute the same losses of the whole batch. So whatever looks at a batch
as a whole, a pick, a distiller that compares images, a memory bank, works as it is, and nothing but
rounding depends on the number of processes (and BatchNorm's statistics, unless they are shared:
sync_batchnorm.py). Gradients are averaged over the processes; `gathered` sees to it that the
average is the gradient of the whole batch.

The first process alone writes and prints. Without torchrun everything here does nothing.
"""

import contextlib
import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from helper import errors
from helper.errors import RunFault
from helper.processes import interruption
from helper.processes.heartbeat import Heartbeat

CHECKS = 10
"""A signal may reach one process first. They compare notes at every so many of the places where one
is answered."""

LAST_SECONDS = 5.0
"""At the end, to learn which process prints the reason."""


def _nothing(_: str) -> None:
    pass


log_fault: Callable[[str], None] = _nothing
"""Logs why a run that has lost contact ends; its loop cannot do it any more. Set once there is a
log."""
_heartbeat: Heartbeat | None = None


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """The number of processes that share the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    return rank() == 0


@contextlib.contextmanager
def session() -> Iterator[None]:
    """The frame of a script: one process prints, and one that fails or vanishes ends the others."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    is_first = os.environ.get("RANK") == "0"
    # Of what goes wrong before they know each other, as a wrong flag.
    errors.prints_errors = lambda: is_first
    with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as stack:
        if not is_first:
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            yield
        except RuntimeError as error:
            if not is_lost_contact(error):
                raise
            interruption.check_alone()  # the signal that ends all has reached another first
            fault = f"lost contact with another process of the run ({first_line(error)})"
            log_fault(f"stopped: {fault}")
            raise RunFault(fault) from None
        finally:
            is_good = sys.exc_info()[0] is None and dist.is_initialized()
            if is_good:
                dist.barrier()
            if _heartbeat is not None:
                _heartbeat.stop()
            if is_good:
                dist.destroy_process_group()


def is_lost_contact(error: RuntimeError) -> bool:
    words = ("gloo", "NCCL", "Connection", "connection", "Broken pipe", "TCPStore", "Socket")
    return dist.is_initialized() and (
        isinstance(error, dist.DistError) or any(word in str(error) for word in words)
    )


def first_line(error: BaseException) -> str:
    return next(filter(None, str(error).splitlines()), "")[:200]


def start(device: torch.device) -> None:
    """Meet the other processes, where there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    store, rank, size = next(dist.rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    prefix = f"attempt {attempt}"  # torchrun may keep the store when it starts us again
    store = dist.PrefixStore(prefix, store)
    has_own_gpu = device.type == "cuda" and all_differ(gpu_of(device), store, rank, size)
    backend = "nccl" if has_own_gpu else "gloo"
    bound: dict[str, Any] = {"device_id": device} if has_own_gpu else {}
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, **bound)
    errors.prints_errors = _FirstToPrint(store)
    global _heartbeat
    _heartbeat = Heartbeat(dist.PrefixStore(prefix, own_connection()), rank, size, _end_here)
    interruption.agree_by(_Agreement())  # to be made by all together
    _heartbeat.start()


def gpu_of(device: torch.device) -> str:
    """Tells a GPU from any other, whatever number each process knows it by."""
    return f"{socket.gethostname()} {torch.cuda.get_device_properties(device).uuid}"


def all_differ(name: str, store: dist.Store, rank: int, size: int) -> bool:
    """Whether each process says another name. NCCL wants a GPU for each."""
    store.set(f"gpu {rank}", name)
    return len({store.get(f"gpu {other}") for other in range(size)}) == size


def own_connection() -> dist.Store:
    """To the store that the processes met at."""
    return dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)


def _end_here(fault: str) -> NoReturn:
    """End this process at once, though the main thread may wait where no signal reaches it."""

    def end(prints_errors: Callable[[], bool]) -> NoReturn:
        errors.prints_errors = prints_errors
        errors.print_error(errors.running_program, fault)
        os._exit(1)

    # Whether another has printed it is asked of the store, which may be gone too.
    threading.Timer(LAST_SECONDS, end, [lambda: True]).start()
    with contextlib.suppress(OSError):
        log_fault(f"stopped: {fault}")
    end(errors.prints_errors)


class _FirstToPrint:
    """Says yes once in all processes."""

    def __init__(self, store: dist.Store) -> None:
        self.store = dist.PrefixStore("errors", store)

    def __call__(self) -> bool:
        try:
            return self.store.add("printed", 1) == 1
        except RuntimeError:  # the process that holds the store is gone, and cannot have printed
            return True


class _Agreement:
    """Lets all processes answer a signal at the same place, whoever got it."""

    def __init__(self) -> None:
        self.calls = 0
        group = dist.new_group(backend="gloo")
        assert isinstance(group, dist.ProcessGroup)  # of all processes, so this one is in it
        self.group = group

    def __call__(self, received: int) -> int:
        """`received`: a signal's number, or 0.

        Returns any that some process received, the same everywhere; or 0.
        """
        self.calls += 1
        if self.calls % CHECKS:
            return 0
        number = torch.tensor(received)
        dist.all_reduce(number, dist.ReduceOp.MAX, group=self.group)
        return int(number)


def part(count: int) -> slice:
    """Our rows of `count`: the shares differ by one at most, the larger ones come first."""
    share, extra = divmod(count, size())
    first = rank() * share + min(rank(), extra)
    return slice(first, first + share + (rank() < extra))


class Divisible(nn.Module):
    """A layer that computes with the other processes, such as a shared BatchNorm."""

    is_divided = True
    """False for a batch that every process has whole."""


def divided(run: Callable[[torch.Tensor], Any], images: torch.Tensor, network: nn.Module) -> Any:
    """`run(images)`, which calls the network, each process having run its part of the rows.

    run: images (B, ...) -> a tensor (B, ...), or tuples, lists and dicts of them. A batch with
    fewer rows than there are processes is run whole by each.
    """
    count = len(images)
    if size() == 1:
        return run(images)
    is_whole = count < size()
    for layer in network.modules():
        if isinstance(layer, Divisible):
            layer.is_divided = not is_whole
    if is_whole:
        return run(images)
    return _each_tensor(run(images[part(count)]), lambda rows: gathered(rows, count))


def _each_tensor(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if torch.is_tensor(value):
        return change(value)
    if isinstance(value, dict):
        return {key: _each_tensor(one, change) for key, one in value.items()}
    return type(value)(_each_tensor(one, change) for one in value)


def gathered(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Our rows `part(count)` of a tensor (count, ...) -> the whole tensor.

    Its gradient goes to our rows, times the number of processes: each computes the same loss of all
    rows, and when their parameters' gradients are averaged, each row must have counted once.
    """
    return rows if size() == 1 else _Gather.apply(rows, count)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, count: int) -> torch.Tensor:
        ctx.part = part(count)
        largest = -(-count // size())
        padded = rows.new_zeros(largest, *rows.shape[1:])
        padded[: len(rows)] = rows
        through = padded.cpu() if dist.get_backend() == "gloo" else padded
        as_bytes = (
            through.contiguous().view(-1).view(torch.uint8)
        )  # of any type, also where the backend lacks it
        parts = [torch.empty_like(as_bytes) for _ in range(size())]
        dist.all_gather(parts, as_bytes)
        share, extra = divmod(count, size())
        whole = [
            one.view(through.dtype).view(through.shape)[: share + (number < extra)]
            for number, one in enumerate(parts)
        ]
        return torch.cat(whole).to(rows.device)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient[ctx.part] * size(), None


def summed(values: torch.Tensor) -> torch.Tensor:
    """The sum over the processes, without gradient."""
    if size() == 1:
        return values
    total = values.detach().to("cpu" if dist.get_backend() == "gloo" else values.device, copy=True)
    dist.all_reduce(total)
    return total.to(values.device)


def parallel(network: nn.Module, *, uses_all: bool = True) -> nn.Module:
    """The network, its gradients averaged over the processes in each backward pass.

    uses_all: whether every parameter takes part in every loss.
    """
    if size() == 1:
        return network
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # of a new name that older versions do not know
        return DistributedDataParallel(
            network, broadcast_buffers=False, find_unused_parameters=not uses_all
        )


def average_gradients(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Average these parameters' gradients over the processes, before each step of the optimizer.

    For what every process trains on all rows, such as a distiller's layers: there the gradients
    are equal already, up to rounding.
    """
    if size() == 1:
        return
    trained = list(parameters)

    def average(*_: Any) -> None:
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        if not gradients:
            return
        flat = summed(torch.cat([gradient.reshape(-1) for gradient in gradients])) / size()
        means = flat.split([gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means):
            gradient.copy_(mean.view_as(gradient))

    optimizer.register_step_pre_hook(average)


def share_buffers(network: nn.Module) -> None:
    """The first process's BatchNorm statistics become everyone's, as its file has them."""
    if size() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, src=0)


def agreed(value: Any) -> Any:
    """The first process's value; a plain one."""
    if size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def wait() -> None:
    """For all processes to come this far."""
    if size() > 1:
        dist.barrier()
