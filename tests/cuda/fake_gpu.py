"""A GPU that is none: its tensors compute on the CPU, and what a GPU would mind is noticed.

Within `fake_gpu()` PyTorch's Python side sees one GPU, cuda:0. A tensor on it is a `GpuTensor`:
each operation on it comes here, and
- raises RuntimeError if it meets a CPU tensor, or a generator of the CPU, as a GPU's would,
- counts as a launch if a GPU would start a kernel for it,
- counts as a wait, with the line that causes it, if the host would wait for the GPU.
PyTorch's core takes these tensors for tensors of the CPU. So kernels, times, memory, CUDA graphs,
NCCL, and the operations that autocast takes for unsafe on a GPU alone, are not tested.
"""

import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch._dynamo  # PyTorch imports it at the first weight; it must not meet the pretended GPU
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = (str(ROOT / "tests"), sys.prefix)
"""Tests and libraries. A virtual environment often lies within the project."""
NO_KERNEL = {
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "new_empty_strided",
    "detach",
    "lift_fresh",
    "as_strided_",
}
"""Operations that write nothing, beside those whose result is a view."""
HOST_WAITS = {
    "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive",
    "unique_dim", "bincount", "equal", "_linalg_svd", "_linalg_eigh", "linalg_eig",
    "_linalg_check_errors",
}  # fmt: skip
"""The host needs their result, or how many there are, to go on."""
TAKE_BOTH = {"_to_copy", "copy_", "index", "index_put", "index_put_", "_index_put_impl_"}
"""Operations that a tensor of the other device may take part in."""


@dataclass
class Seen:
    """The work of a GPU."""

    launches: Counter = field(default_factory=Counter)
    """By operation."""
    waits: Counter = field(default_factory=Counter)
    """By the project's line and the reason."""

    def wait(self, why: str) -> None:
        self.waits[f"{calling_line()}: {why}"] += 1

    def clear(self) -> None:
        self.launches.clear()
        self.waits.clear()


seen = Seen()


def calling_line() -> str:
    """The innermost line outside tests/ and the libraries."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(str(ROOT)) and not path.startswith(OUTSIDE):
            return f"{Path(path).relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return "the test"


class GpuTensor(torch.Tensor):
    """A tensor on cuda:0; its `values` are a tensor of the CPU."""

    values: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> "GpuTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
        )
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        if args and torch.is_tensor(args[0]):
            args, kwargs = (args[0].device, args[0].dtype), kwargs
        copies = {"copy": kwargs.pop("copy")} if "copy" in kwargs else {}
        device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
        asked = copies | ({} if layout is None else {"memory_format": layout})
        if device is None or device.type == "cuda":
            return super().to(dtype or self.dtype, **asked)
        if device.type == "meta":
            return self.values.to(device)
        seen.wait("copied to the CPU")
        return self.values.detach().clone().to(dtype or self.dtype, **asked)

    def cpu(self) -> torch.Tensor:
        return self.to(CPU)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __format__(self, spec: str) -> str:
        return self.item().__format__(spec)

    def __repr__(self, **_: Any) -> str:
        return f"GpuTensor({self.values!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        if id(self) not in memo:
            twin = GpuTensor(self.values.detach().clone())
            is_parameter = isinstance(self, nn.Parameter)
            wants = self.requires_grad
            memo[id(self)] = (
                nn.Parameter(twin, wants) if is_parameter else twin.requires_grad_(wants)
            )
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise AssertionError("a file would hold a tensor of the GPU, which others cannot read")


class _Uploads(TorchDispatchMode):
    """Sees what makes a tensor on cuda:0 out of none that is there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if is_on_gpu(kwargs.get("device")):
            return carried_out(func, args, kwargs)
        return func(*args, **kwargs)


def is_on_gpu(device: Any) -> bool:
    return isinstance(device, (str, torch.device)) and torch.device(device).type == "cuda"


def tensors_in(value: Any) -> list[torch.Tensor]:
    if isinstance(value, (list, tuple)):
        return [one for part in value for one in tensors_in(part)]
    return [value] if isinstance(value, torch.Tensor) else []


def each(change: Callable[[Any], Any], value: Any) -> Any:
    """`change` of a value, or of each in lists and tuples of values."""
    if isinstance(value, (list, tuple)):
        return type(value)([each(change, one) for one in value])
    return change(value)


def in_backward() -> bool:
    """PyTorch's core then asks for zeros, and for other types, on the device that it sees."""
    return torch._C._current_graph_task_id() != -1


class GpuGenerator(torch.Generator):
    """A generator on cuda:0; operations know it by its seed."""

    seeds: ClassVar[set[int]] = set()

    def manual_seed(self, seed: int) -> torch.Generator:
        self.seeds.add(seed)
        return super().manual_seed(seed)


def carried_out(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`func` on the values; its results are on the GPU."""
    name, launches = facts_of(func)
    tensors = tensors_in([*args, *kwargs.values()])
    on_gpu = [one for one in tensors if isinstance(one, GpuTensor)]
    on_cpu = [one for one in tensors if not isinstance(one, GpuTensor) and one.device.type == "cpu"]
    check_devices(name, on_gpu, on_cpu, [*args, *kwargs.values()])
    note_waits(name, args, kwargs, is_upload=not on_gpu)
    if launches:
        seen.launches[name] += 1

    def value_of(one: Any) -> Any:
        if isinstance(one, GpuTensor):
            return one.values
        return CPU if isinstance(one, torch.device) and one.type == "cuda" else one

    values = {key: each(value_of, one) for key, one in kwargs.items()}
    results = func(*each(value_of, tuple(args)), **values)
    same = {id(one.values): one for one in on_gpu}

    asked = kwargs.get("device")
    leaves = asked is not None and not is_on_gpu(asked) and not in_backward()

    def wrapped(one: Any) -> Any:
        if not isinstance(one, torch.Tensor) or leaves:
            return one
        return same[id(one)] if id(one) in same else GpuTensor(one)

    if name == "copy_" and not isinstance(args[0], GpuTensor):
        return args[0]
    return each(wrapped, results)


def check_devices(name: str, on_gpu: list, on_cpu: list, arguments: list) -> None:
    """RuntimeError where a GPU has one. A CPU tensor without dimensions, a number, is welcome."""
    if on_gpu and not in_backward() and name not in TAKE_BOTH and any(one.dim() for one in on_cpu):
        raise RuntimeError(
            f"Expected all tensors on the same device, but found cuda:0 and cpu: {name}"
        )
    generators = [one for one in arguments if isinstance(one, torch._C.Generator)]
    if any(one.initial_seed() not in GpuGenerator.seeds for one in generators):
        raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu': {name}")


def note_waits(name: str, args: Any, kwargs: dict[str, Any], *, is_upload: bool) -> None:
    if name in HOST_WAITS:
        seen.wait(name)
    if name == "_to_copy" and is_upload and not kwargs.get("non_blocking"):
        seen.wait("copied to the GPU, blocking")
    if name == "copy_" and len({isinstance(a, GpuTensor) for a in args[:2]}) == 2:
        seen.wait("copy_ between CPU and GPU")
    if name.lstrip("_").startswith("index") and isinstance(args[1], (list, tuple)):
        for rows in filter(torch.is_tensor, args[1]):
            if not isinstance(rows, GpuTensor):
                seen.wait(f"{name} by a CPU tensor")
            is_fill = (
                name != "index" and args[2].numel() == 1 and not isinstance(args[2], GpuTensor)
            )
            if rows.dtype == torch.bool and not is_fill:
                seen.wait(f"{name} by a mask")


@functools.cache
def facts_of(func: Any) -> tuple[str, bool]:
    """An operation's name, and whether it has a kernel."""
    name = func._schema.name.partition("::")[2]
    infos = [one.alias_info for one in func._schema.returns]
    is_view = any(info is not None and not info.is_write for info in infos)
    return name, name not in NO_KERNEL and not is_view


def moved_afterwards(make: Any) -> Any:
    """torch.tensor, torch.as_tensor: PyTorch's core copies to the device where no mode sees it."""

    def made(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        if isinstance(data, GpuTensor) or not is_on_gpu(device):
            return make(data, *args, device=device, **kwargs)
        return make(data, *args, **kwargs).to(device)

    return made


def new_tensor(like: torch.Tensor, data: Any, **kwargs: Any) -> torch.Tensor:
    """Tensor.new_tensor: PyTorch's core would make it on the CPU."""
    return torch.tensor(data, **{"dtype": like.dtype, "device": like.device} | kwargs)


def numbered(move: Any) -> Any:
    """Tensor.to: for "cuda" without a number PyTorch's core would ask the driver."""

    def to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        args = [GPU if is_on_gpu(one) else one for one in args]
        return move(tensor, *args, **{k: GPU if is_on_gpu(v) else v for k, v in kwargs.items()})

    return to


def refused(*_: Any, **__: Any) -> Any:
    """CUDA graphs: a real GPU, where there is one, would record nothing."""
    raise RuntimeError("the pretended GPU has no CUDA graphs")


@contextlib.contextmanager
def fake_gpu() -> Iterator[Seen]:
    """Within, there is one. Yields what it has to do, counted from here."""
    autocast, flags = torch.autocast, torch.backends.cudnn
    before = flags.deterministic, flags.benchmark, flags.allow_tf32
    with pytest.MonkeyPatch.context() as patch:
        answers = {
            "is_available": True, "device_count": 1, "get_device_name": "Fake GPU",
            "is_bf16_supported": True, "get_device_capability": (9, 0),
            "is_current_stream_capturing": False, "_lazy_init": None, "current_device": 0,
            "get_rng_state": torch.get_rng_state(), "set_rng_state": None, "manual_seed": None,
            "reset_peak_memory_stats": None, "max_memory_allocated": 1,
        }  # fmt: skip
        for name, answer in answers.items():
            patch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
        generator = torch.Generator
        made = lambda device="cpu": GpuGenerator() if is_on_gpu(device) else generator(device)  # noqa: E731
        patch.setattr(torch, "Generator", made)
        patch.setattr(torch.cuda, "synchronize", lambda *_: seen.wait("synchronize"))
        for name in ("CUDAGraph", "make_graphed_callables"):
            patch.setattr(torch.cuda, name, refused)
        patch.setattr(
            torch, "autocast", lambda _, *args, **kwargs: autocast("cpu", *args, **kwargs)
        )
        patch.setattr(torch, "tensor", moved_afterwards(torch.tensor))
        patch.setattr(torch, "as_tensor", moved_afterwards(torch.as_tensor))
        patch.setattr(torch.Tensor, "new_tensor", new_tensor)
        patch.setattr(torch.Tensor, "to", numbered(torch.Tensor.to))
        patch.setattr(flags, "version", lambda: 90000)
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # their class changes
        seen.clear()
        try:
            with _Uploads():
                yield seen
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(False)
            flags.deterministic, flags.benchmark, flags.allow_tf32 = before
