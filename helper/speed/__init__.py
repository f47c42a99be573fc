"""Everything that only makes a run faster or smaller, behind `start`, `place`, `prepare` and
`batches_at_once`.

Nothing outside names a module of this room (benchmarks and this room's tests apart), and everything
works, slower and up to rounding, without it: DATA_AUG_KD_PLAIN=1 in the environment switches it
off. A mechanism may stay here if it gives a whole step of one of the paper's pairs 5 % or more, or
keeps a run in memory.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from helper.speed import bfloat16, compiled, counters, memory
from helper.speed.both_views import BothViews
from helper.speed.frozen import frozen_copy
from helper.speed.graphed_views import GraphedViews
from helper.speed.layout import in_fast_layout


def is_off() -> bool:
    return os.environ.get("DATA_AUG_KD_PLAIN", "") not in ("", "0")


def start() -> None:
    """Settings of the whole process; to be called before it has threads."""
    if not is_off():
        memory.keep_freed_memory()


def warn_if_slow(device: torch.device, *, amp: bool) -> list[str]:
    """A line for log.txt where --amp makes a run slower on this processor."""
    return [] if is_off() else bfloat16.warn_if_slow(device, amp=amp)


def place(network: nn.Module, device: torch.device, img_size: int) -> nn.Module:
    """The network on its device, its weights in memory as its convolutions are fast."""
    network = network.to(device)
    return network if is_off() else in_fast_layout(network, device, img_size)


PIXELS_MADE_AT_ONCE = 32 * 64 * 32 * 32
"""32 batches of 64 images of 32x32 pixels: 25 MB, and a few times that while they are made."""


def batches_at_once(device: torch.device, batch_size: int, img_size: int) -> int:
    """How many training batches are made together: on a GPU making one takes as many launches."""
    if is_off() or device.type == "cpu":
        return 1
    return max(1, PIXELS_MADE_AT_ONCE // (batch_size * img_size**2))


@dataclass(frozen=True)
class Wanted:
    """The use that a run makes of its networks."""

    img_size: int
    batch_size: int
    amp: bool
    compiles: bool
    """--compile"""
    preacts: Sequence[bool] = ()
    """Which features are read; none: logits alone."""
    is_alone: bool = True
    """No other process trains the student."""
    sees_both_views: bool = False
    """The student is trained on two views, by this process alone."""
    keeps_view_statistics: bool = True
    """BatchNorm's running statistics are of the second view too."""
    trains: bool = True
    """Whether the student is trained; else it is frozen as the teacher is."""
    streams: bool = False
    """Images come from files all the time: other threads use the GPU too."""


class Prepared(NamedTuple):
    """The networks to use in place of those given, and lines for log.txt."""

    teacher: nn.Module | None
    student: nn.Module | None
    both_views: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None
    """(images, view, amp=) -> logits of both, sooner than in two passes; None: nothing is."""
    lines: list[str]


def prepare(teacher: nn.Module | None, student: nn.Module | None, wanted: Wanted) -> Prepared:
    """Faster stand-ins for the networks. A trained student stays the module it is."""
    if is_off():
        return Prepared(teacher, student, None, [])
    lines = []
    if teacher is not None and not wanted.preacts:
        given = teacher
        teacher = frozen_copy(given, wanted.img_size, amp=wanted.amp)
        if teacher is given:
            lines.append(
                "the teacher is used as it is: no faster copy gives the same logits, or memory ran "
                "out"
            )
    if student is not None and not wanted.trains:
        student = frozen_copy(student, wanted.img_size, amp=wanted.amp)
    networks = [network for network in (teacher, student) if network is not None]
    device = next(networks[0].parameters()).device
    if wanted.compiles:
        lines += compiled.compile_networks(networks, device)
    elif student is not None and wanted.is_alone and device.type == "cuda":
        counters.keep_on_cpu(student)
    return Prepared(teacher, student, both_views(student, device, wanted), lines)


def both_views(
    student: nn.Module | None, device: torch.device, wanted: Wanted
) -> BothViews | GraphedViews | None:
    """The student's passes over both views as one, where that is sooner."""
    is_graphed = device.type == "cuda"
    if student is None or not wanted.sees_both_views or wanted.preacts:
        return None
    # Recording fails where another thread uses the GPU.
    if is_graphed and (wanted.compiles or wanted.streams):
        return None
    if not (GraphedViews if is_graphed else BothViews).suits(student):
        return None
    keeps = wanted.keeps_view_statistics
    if is_graphed:
        return GraphedViews(student, wanted.batch_size, keeps_view_statistics=keeps)
    return BothViews(student, keeps_view_statistics=keeps)
