"""Accuracy and loss: values that stay on the device until a line is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from helper.errors import RunFault
from helper.processes import distributed, interruption
from helper.step.passes import logits_of


def top_k_hits(logits: torch.Tensor, labels: torch.Tensor, k: int) -> torch.Tensor:
    """(B, K), (B,) -> (B, k) bool: whether the label has the largest logit, the second, ...

    With fewer than k classes, a column for each class.
    """
    return logits.topk(min(k, logits.shape[1]), dim=1).indices == labels[:, None]


NOT_FINITE = (
    "The last checkpoint in weights/ is from before; a lower --learning_rate or loss weight may"
    " help"
)
MOST_PENDING = 1000
"""Steps whose values the device keeps at the most: 512 bytes a value on a GPU."""


class MeanMeter:
    """Means of named values, weighted by batch size.

    `update` launches nothing on a GPU: it keeps what it gets. Reading sums it up, on the CPU in
    float64, and is the only wait. Once a value is not finite, neither are the means, and the meter
    keeps the batch that brought it.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.count = 0
        self.sums, self.latest = torch.zeros(0, dtype=torch.float64), torch.zeros(0)
        self.steps = torch.zeros((), dtype=torch.int64)
        """Up to the first that was not finite."""
        self._pending: list[tuple[list[torch.Tensor], int]] = []

    def update(self, values: dict[str, torch.Tensor], weight: int) -> None:
        """Add one batch's values. Every call brings the same names.

        A value is a scalar, or (B, k) bool: in percent, how many rows have a True; one has at most
        one.
        """
        self.names = tuple(values)
        self._pending.append(([value.detach() for value in values.values()], weight))
        if len(self._pending) == MOST_PENDING:
            self._take_in()

    def _take_in(self) -> None:
        """Add what is pending to the sums."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        rows = on_cpu([values for values, _ in pending])
        if not self.count:
            self.sums = torch.zeros_like(rows[0])
        for latest, (_, weight) in zip(rows, pending):
            if self.sums.isfinite().all():
                self.latest = latest
                self.steps += 1
            self.sums += latest * weight
            self.count += weight

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        """(latest values, means so far), by name."""
        self._take_in()
        latest, means = torch.stack([self.latest, self.sums / self.count]).tolist()
        return dict(zip(self.names, latest)), dict(zip(self.names, means))

    def check_finite(self, where: str) -> None:
        """Raise RunFault with the step, and the values in it, if any value so far was not
        finite."""
        self._take_in()
        if self.sums.isfinite().all():
            return
        parts = ", ".join(f"{name} {value:.6g}" for name, value in self.read()[0].items())
        raise RunFault(
            f"{where}, step {int(self.steps) - 1}: a loss is not finite: {parts}. {NOT_FINITE}"
        )

    def state_dict(self) -> dict[str, Any]:
        self._take_in()
        return {
            "names": self.names,
            "count": self.count,
            **{name: getattr(self, name).clone() for name in ("sums", "latest", "steps")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.names, self.count, self._pending = state["names"], state["count"], []
        if self.count:
            self.sums, self.latest, self.steps = (
                state[name].cpu().clone() for name in ("sums", "latest", "steps")
            )


def on_cpu(steps: Sequence[Sequence[torch.Tensor]]) -> torch.Tensor:
    """Each step's values, as `MeanMeter.update` takes them: (steps, values) float64.

    Two copies bring them from a device.
    """
    rows = torch.empty(len(steps), len(steps[0]), dtype=torch.float64)
    is_hits = torch.tensor([value.dtype == torch.bool for value in steps[0]])
    scalars = [value for values in steps for value in values if value.dtype != torch.bool]
    if scalars:
        rows[:, ~is_hits] = torch.stack(scalars).cpu().double().view(len(steps), -1)
    hits = [value for values in steps for value in values if value.dtype == torch.bool]
    if hits:
        parts = (
            torch.cat([value.flatten() for value in hits]).cpu().split([*map(torch.numel, hits)])
        )
        shares = [part.sum().float() * (100 / len(value)) for part, value in zip(parts, hits)]
        rows[:, is_hits] = torch.stack(shares).double().view(len(steps), -1)
    return rows


@dataclass(frozen=True)
class Evaluation:
    """Top-1 and top-5 accuracy in percent, and the mean cross-entropy in nats, over all samples."""

    acc1: float
    acc5: float
    loss: float


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    *,
    amp: bool = False,
) -> Evaluation:
    """The model in eval mode over a whole split, which several processes divide.

    Leaves it in the mode it was in.
    """
    distributed.share_buffers(model)
    was_training = model.training
    model.eval()
    sums, count = torch.zeros(3, dtype=torch.float64), 0
    for images, labels, _ in batches:
        interruption.check()
        count += len(labels)
        sums = sums.to(labels.device)  # also where this process has no row
        rows = distributed.part(len(labels))
        images, labels = images[rows], labels[rows]
        if len(labels):
            logits = logits_of(model, images, amp=amp, is_divided=False)
            hits = top_k_hits(logits, labels, 5)
            loss = F.cross_entropy(logits, labels, reduction="sum")
            sums = sums + torch.stack([hits[:, 0].sum(), hits.sum(), loss]).double()
    model.train(was_training)
    acc1, acc5, loss = (distributed.summed(sums) / count).tolist()
    return Evaluation(100 * acc1, 100 * acc5, loss)
