"""How far a run is, and all that it needs to go on from there as if it had never stopped."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from helper.errors import RunFault, UserError
from helper.loop.metrics import MeanMeter
from helper.processes import interruption
from helper.run.load import load_weights
from helper.run.log_lines import INTERRUPTED, STOPPED
from helper.run.folder import RunFolder

FORMAT = 2
"""Format of a run's checkpoint. Version 0.1 wrote none, which counts as 1: the content is equal."""

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(kw_only=True)
class RunState:
    """The state that training and the T. stddev pass share; its state_dict is the checkpoint."""

    generators: dict[str, torch.Generator]
    """Random draws; "data" makes the batches."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further objects with state_dict and load_state_dict, by name."""
    epoch: int = 0
    """The last complete one."""
    step: int = 0
    """Steps done of the pass under way, be it an epoch or one of the initial stage."""
    meter: MeanMeter = field(default_factory=MeanMeter)
    """Means of the pass under way."""

    def __post_init__(self) -> None:
        self.pass_start: torch.Tensor | None = None
        """State of the "data" generator when the pass under way began: from there its draws are
        made again."""

    def end_pass(self) -> None:
        """The next pass begins at its first step."""
        self.step, self.pass_start = 0, None

    def state_dict(self) -> dict[str, Any]:
        generators = {name: generator.get_state() for name, generator in self.generators.items()}
        if self.pass_start is not None:
            generators["data"] = self.pass_start
        return {
            "format": FORMAT,
            "epoch": self.epoch,
            "step": self.step,
            "meter": self.meter.state_dict() if self.step else None,
            "generators": generators,
            "extra": {name: part.state_dict() for name, part in self.extra.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises LookupError, ValueError, TypeError or RuntimeError if something is missing or
        does not fit."""
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        for name, part in self.extra.items():
            part.load_state_dict(state["extra"][name])
        self.epoch, self.step = counted(state, "epoch"), counted(state, "step")
        if self.step:
            self.meter.load_state_dict(state["meter"])

    def restore(self, checkpoint: dict[str, Any], *, flag: str, path: str | Path) -> None:
        """Continue from `checkpoint`. UserError if it does not hold what that takes."""
        if checkpoint.get("format", 1) not in range(1, FORMAT + 1):
            raise UserError(
                f"{flag} {path} has format {checkpoint['format']}, of a newer version: this one"
                f" reads up to {FORMAT}"
            )
        try:
            self.load_state_dict(checkpoint)
        except (LookupError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{flag} {path} has not all that resuming needs ({reason})") from None


@dataclass(kw_only=True)
class TrainingState(RunState):
    """Everything that changes while training; its state_dict is the checkpoint."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    description: dict[str, Any]
    """Facts of the network, see checkpoint.describe_model."""
    accuracy: float = float("nan")
    """Top-1 on the test set after the last complete epoch, in percent."""
    best_acc1: float = -1.0
    """Top-1 on the test set after the best epoch."""
    best_epoch: int = 0
    best_score: float = -1.0
    """The score that chose this epoch: its top-1 on the held-out images, or on the test set where
    none are held out."""
    head: nn.Module | None = None
    """A module in the place of the model's classifier: it belongs to the weights."""
    with_head: nn.Module | None = None
    """The model with its head, where it has one."""

    @property
    def deployed(self) -> nn.Module:
        """The network that is evaluated: the model, or the model with its head."""
        return self.with_head or self.model

    def weights(self) -> dict[str, Any]:
        """The public layout: enough to use the network."""
        return {
            "model": self.model.state_dict(),
            "epoch": self.epoch,
            "accuracy": self.accuracy,
            **self.description,
            **({} if self.head is None else {"head": self.head.state_dict()}),
        }

    def state_dict(self) -> dict[str, Any]:
        """`weights`, and what resuming needs beyond them."""
        return {
            **super().state_dict(),
            **self.weights(),
            "optimizer": self.optimizer.state_dict(),
            "best_acc1": self.best_acc1,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """All but the weights of the model, which are in it already."""
        super().load_state_dict(state)
        load_optimizer(self.optimizer, state["optimizer"])
        self.best_acc1, self.best_epoch = float(state["best_acc1"]), counted(state, "best_epoch")
        self.best_score, self.accuracy = float(state["best_score"]), float(state["accuracy"])

    def restore(self, checkpoint: dict[str, Any], *, flag: str, path: str | Path) -> None:
        """Weights and all else. UserError if the checkpoint is not one of this run's."""
        load_weights(
            self.model, self.description["arch"], checkpoint, flag=flag, path=path, allow_head=True
        )
        if "optimizer" not in checkpoint:
            raise UserError(
                f"{flag} {path} holds weights alone; only a run's weights/ckpt.pth can be resumed"
            )
        super().restore(checkpoint, flag=flag, path=path)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Rates and momenta; whether one kernel updates all depends on this device, not on the
    file's."""
    optimizer.load_state_dict(state)
    for group in optimizer.param_groups:
        group["fused"] = optimizer.defaults["fused"]


def counted(state: dict[str, Any], name: str) -> int:
    """ValueError if it is no number of epochs or steps."""
    count = state[name]
    if type(count) is not int or count < 0:
        raise ValueError(f"{name} {count!r} is no count")
    return count


class DataFault(RunFault):
    """Data vanished or turned bad while the run was on; the state is between two steps."""


@contextlib.contextmanager
def saved_if_stopped(state: RunState, run: RunFolder, where: str) -> Iterator[None]:
    """A pass: within, a signal waits for the end of the step; then the state is saved, and log.txt
    tells how to go on.

    Of another fault, log.txt tells too. RunFault if a loss was not finite.
    """
    try:
        with interruption.between_steps_only():
            yield
            state.meter.check_finite(where)
    except (interruption.Interrupted, DataFault) as stop:
        run.log(
            f"{INTERRUPTED}{where} after step {state.step} ({stop}); "
            f"repeat the command with --resume_ExpID {run.path.name}"
        )
        state.meter.check_finite(where)
        run.save(state.state_dict())
        raise
    except Exception as fault:
        reason = next(filter(None, str(fault).splitlines()), type(fault).__name__)
        with contextlib.suppress(OSError):  # the disk may be what failed
            run.log(f"{STOPPED}{reason}")
        raise
