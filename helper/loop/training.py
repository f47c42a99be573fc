"""The training loop that teacher and student share, and the pass over the batches that all loops
share."""

import math
import sys
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

from dataset.streamed import AnyBatches
from helper.errors import RunFault, UserError
from helper.loop.metrics import NOT_FINITE, Evaluation, MeanMeter, evaluate, top_k_hits
from helper.loop.state import Batch, DataFault, RunState, TrainingState, saved_if_stopped
from helper.processes import interruption
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


def batches_left(state: RunState, batches: AnyBatches) -> Iterator[tuple[int, Batch]]:
    """The batches of the pass under way from `state.step` on, numbered.

    A signal, or data that cannot be read, ends it between two steps.
    """
    if state.step == 0:
        state.meter = MeanMeter()
    if state.step < len(batches):
        state.pass_start = state.generators["data"].get_state()
        iterator = batches.starting_at(state.step)
    for index in range(state.step, len(batches)):
        if interruption.watch.is_due:
            interruption.check()
        try:
            batch = next(iterator)
        except UserError as error:
            # The signal that ends this run may have ended the processes that decode.
            interruption.check_alone()
            raise DataFault(str(error)) from None
        yield index, batch
        state.step = index + 1
    state.pass_start = None  # nothing of it remains to be served
    interruption.check()


def progress_bar(state: RunState, batches: AnyBatches, title: str) -> tqdm:
    """`batches_left` with a bar on a terminal (rate and time left); nothing where the output is a
    file."""
    return tqdm(
        batches_left(state, batches),
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
    timer, where, steps = StepTimer(), f"epoch {epoch}", len(train)
    bar = progress_bar(state, train, f"epoch {epoch}/{settings.epochs}")
    for index, (images, labels, rows) in bar:
        timer.data_ready()
        state.optimizer.zero_grad(set_to_none=True)
        losses, logits = step(images, labels, rows)
        total = step.weights.total(losses)
        total.backward()
        state.optimizer.step()
        hits = top_k_hits(logits.detach(), labels, 5)
        measured = {"loss": total, "acc1": hits[:, :1], "acc5": hits, **losses}
        state.meter.update(measured, len(labels))
        timer.step_done()
        total_step = (epoch - 1) * steps + index
        if index % settings.print_interval == 0:
            state.meter.check_finite(where)
            latest, means = state.meter.read()
            bar.set_postfix(loss=f"{means['loss']:.3f}", acc1=f"{means['acc1']:.1f}")
            run.log(
                f"Epoch: [{epoch}][{index}/{steps}] {timer} {describe(step.weights, latest, means)}"
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
