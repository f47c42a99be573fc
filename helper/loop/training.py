"""The training loop that teacher and student share, and what a checkpoint must hold to resume
it."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from dataset.streamed import AnyBatches
from helper.errors import RunFault, UserError
from helper.loop.metrics import NOT_FINITE, Evaluation, evaluate, top_k_hits
from helper.loop.state import RunState, counted, saved_if_stopped
from helper.processes import distributed
from helper.run.load import load_weights
from helper.run.log_lines import EPOCH
from helper.run.folder import RunFolder
from helper.setup.optimisation import LoopSettings
from helper.step.distill import LossWeights, Step

BOARD_NAMES = {
    "acc1": "test/acc1",
    "acc5": "test/acc5",
    "test_loss": "test/loss",
    "dev_acc1": "dev/acc1",
    "dev_acc5": "dev/acc5",
    "dev_loss": "dev/loss",
}
"""TensorBoard's names of what metrics.jsonl calls so."""


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


def progress_bar(state: RunState, batches: AnyBatches, title: str) -> tqdm:
    """`state.batches` with a bar on a terminal (rate and time left); nothing where the output is a
    file."""
    return tqdm(
        state.batches(batches),
        initial=state.step,
        total=len(batches),
        desc=title,
        unit="step",
        leave=False,
        dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
    )


def fit(
    state: TrainingState,
    step: Step,
    *,
    train: AnyBatches,
    test: AnyBatches,
    dev: AnyBatches | None = None,
    settings: LoopSettings,
    run: RunFolder,
    at_end: Callable[[], None] = lambda: None,
) -> None:
    """Train from the epoch after `state.epoch` to the last one; evaluate, log and save after each.

    Writes weights/ckpt.pth (resumable) each epoch, weights/<arch>_best.pth at each new best
    accuracy: on the held-out images of `dev`, or on the test set if there are none, as published.
    `at_end` is called when all is trained, just ahead of the last ckpt.pth: once that is there,
    nothing remains to be done.
    """
    if state.epoch == settings.epochs:
        run.log(f"nothing to do: all {state.epoch} epochs are done (more --epochs go on)")
    for epoch in range(state.epoch + 1, settings.epochs + 1):
        for group in state.optimizer.param_groups:
            group["lr"], group["weight_decay"] = (
                settings.learning_rate(epoch),
                settings.weight_decay(epoch),
            )
        step.start_epoch(epoch)
        with saved_if_stopped(state, run, f"epoch {epoch}"):
            seconds = train_epoch(state, step, train, settings, run, epoch)
            result = evaluate(state.deployed, test, amp=settings.amp)
            held_out = None if dev is None else evaluate(state.deployed, dev, amp=settings.amp)
            if not math.isfinite(result.loss):
                raise RunFault(f"the test loss after epoch {epoch} is {result.loss}. {NOT_FINITE}")
        run.record("train", epoch=epoch, **state.meter.read()[1])
        is_best = note_epoch(state, epoch, result, held_out)
        report_epoch(state, settings.learning_rate(epoch), result, held_out, seconds, run)
        # ckpt.pth comes last: a run killed in between repeats the epoch, it does not lose a line or
        # a file.
        if is_best:
            run.save_weights(f"{state.description['arch']}_best.pth", state.weights())
        if settings.save_freq > 0 and epoch % settings.save_freq == 0:
            run.save_weights(f"ckpt_epoch_{epoch}.pth", state.weights())
        if epoch == settings.epochs:
            at_end()
        run.save(state.state_dict())


def report_epoch(
    state: TrainingState,
    rate: float,
    result: Evaluation,
    held_out: Evaluation | None,
    seconds: float,
    run: RunFolder,
) -> None:
    """A finished epoch in log.txt, metrics.jsonl and TensorBoard."""
    values = {"acc1": result.acc1, "acc5": result.acc5, "test_loss": result.loss}
    best = {"best_acc1": state.best_acc1, "best_epoch": state.best_epoch}
    run.log(EPOCH.format(epoch=state.epoch, lr=rate, **values, **best))
    if held_out is not None:
        run.log(
            f"DevAcc1 {held_out.acc1:.4f} DevAcc5 {held_out.acc5:.4f} DevLoss {held_out.loss:.6f} "
            f"Epoch {state.epoch} (Best_DevAcc1 {state.best_score:.4f} @ Epoch {state.best_epoch})"
        )
        values |= {"dev_acc1": held_out.acc1, "dev_acc5": held_out.acc5, "dev_loss": held_out.loss}
    run.record(
        "epoch",
        epoch=state.epoch,
        **values,
        lr=rate,
        best_acc1=state.best_acc1,
        best_epoch=state.best_epoch,
        seconds=seconds,
    )
    run.scalars(
        state.epoch, {BOARD_NAMES[name]: value for name, value in values.items()} | {"lr": rate}
    )


def note_epoch(
    state: TrainingState, epoch: int, result: Evaluation, held_out: Evaluation | None
) -> bool:
    """Enter a finished epoch into the state. Returns whether it is the best so far."""
    state.end_pass()
    state.epoch, state.accuracy = epoch, result.acc1
    score = (held_out or result).acc1
    is_best = score > state.best_score
    if is_best:
        state.best_score, state.best_acc1, state.best_epoch = score, result.acc1, epoch
    return is_best


def train_epoch(
    state: TrainingState,
    step: Step,
    train: AnyBatches,
    settings: LoopSettings,
    run: RunFolder,
    epoch: int,
) -> float:
    """One pass over the training batches, or what is left of it. Returns its seconds.

    No value leaves the device between two log lines. RunFault if a loss is not finite: found at the
    next line.
    """
    state.model.train()
    timer, where = StepTimer(), f"epoch {epoch}"
    bar = progress_bar(state, train, f"epoch {epoch}/{settings.epochs}")
    for index, (images, labels, rows) in bar:
        timer.data_ready()
        state.optimizer.zero_grad(set_to_none=True)
        losses, logits = step(images, labels, rows)
        total = step.weights.total(losses)
        total.backward()
        distributed.average_gradients(step.replicated)
        state.optimizer.step()
        hits = top_k_hits(logits.detach(), labels, 5)
        measured = {"loss": total, "acc1": hits[:, :1], "acc5": hits, **losses}
        state.meter.update(measured, len(labels))
        timer.step_done()
        total_step = (epoch - 1) * len(train) + index
        if index % settings.print_interval == 0:
            state.meter.check_finite(where)
            latest, means = state.meter.read()
            bar.set_postfix(loss=f"{means['loss']:.3f}", acc1=f"{means['acc1']:.1f}")
            run.log(
                f"Epoch: [{epoch}][{index}/{len(train)}] {timer}"
                f" {describe(step.weights, latest, means)}"
            )
        if total_step % settings.tb_freq == 0:
            run.scalars(
                total_step,
                {f"train/{name}": value for name, value in state.meter.read()[0].items()},
            )
        del losses, logits, total, measured  # while a loss is kept, no CUDA graph can be recorded
        timer.resume()
    state.meter.check_finite(where)
    return timer.total


def describe(weights: LossWeights, latest: dict[str, float], means: dict[str, float]) -> str:
    """The part of the progress line with losses and accuracies: latest (mean of the epoch)."""
    shown = " ".join(
        f"{title} {latest[key]:.4f} ({means[key]:.4f})"
        for title, key in (("Loss", "loss"), ("Acc@1", "acc1"), ("Acc@5", "acc5"))
    )
    return f"{shown} | {describe_terms(weights, latest)}"


def describe_terms(weights: LossWeights, losses: dict[str, float]) -> str:
    """The loss terms, each with its factor: "loss_cls(*0.1) 3.1 loss_div-oriKLD(*1.0) 5.2 ...".

    A logit distiller's terms have their factors within its loss, which follows them with its own.
    """
    shown = []
    for term in weights.shown:
        parts = [share * losses[name] for name, share in term.parts.items() if name in losses]
        if parts:
            shown.append(f"loss_{term.title}(*{term.factor}) {sum(parts):.6f}")
    return " ".join(shown)


class StepTimer:
    """Seconds a step takes, and the share of it spent waiting for data: latest (mean of the epoch).

    On a GPU the clock runs ahead of the device: between two log lines steps look shorter than they
    are.
    """

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.steps, self.total, self.data_total, self.step, self.data = 0, 0.0, 0.0, 0.0, 0.0

    def data_ready(self) -> None:
        self.data = time.perf_counter() - self.last
        self.data_total += self.data

    def step_done(self) -> None:
        self.step = time.perf_counter() - self.last
        self.steps += 1
        self.total += self.step

    def resume(self) -> None:
        """The next step begins; what was written since the last one counts for neither."""
        self.last = time.perf_counter()

    def __str__(self) -> str:
        mean, data = self.total / self.steps, self.data_total / self.steps
        return f"Time {self.step:.3f} ({mean:.3f}) Data {self.data:.3f} ({data:.3f})"
