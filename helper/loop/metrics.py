"""Accuracy and loss: sums that stay on the device until a line is written."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from helper.errors import RunFault
from helper.processes import distributed, interruption
from helper.step.networks import logits_of


def correct_topk(
    logits: torch.Tensor, labels: torch.Tensor, ks: tuple[int, ...] = (1, 5)
) -> torch.Tensor:
    """How many labels are among the k largest logits, for each k: (B, K), (B,) -> (len(ks),) float.

    With fewer than k classes every label is.
    """
    ranked = logits.topk(min(max(ks), logits.shape[1]), dim=1).indices  # (B, k)
    hits = ranked == labels[:, None]
    return torch.stack([hits[:, :k].sum() for k in ks]).float()


NOT_FINITE = (
    "The last checkpoint in weights/ is from before; a lower --learning_rate or loss weight may"
    " help"
)


class MeanMeter:
    """Means of named scalars, weighted by batch size, kept on the device; reading them is the only
    wait.

    Once a value is not finite, neither are the means, and the meter keeps the batch that brought
    it.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.count = 0

    def update(self, values: dict[str, torch.Tensor], weight: int) -> None:
        """Add one batch's scalars. Every call brings the same names."""
        latest = torch.stack([value.detach().double() for value in values.values()])
        if not self.count:
            self.names, self.sums, self.latest = tuple(values), torch.zeros_like(latest), latest
            self.steps = latest.new_zeros(
                (), dtype=torch.int64
            )  # up to the first that was not finite
        for name in ("sums", "latest", "steps"):  # loaded ones may be elsewhere
            setattr(self, name, getattr(self, name).to(latest.device))
        was_finite = self.sums.isfinite().all()
        self.latest = torch.where(was_finite, latest, self.latest)
        self.steps += was_finite
        self.sums += latest * weight
        self.count += weight

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        """(latest values, means so far), by name."""
        latest, means = torch.stack([self.latest, self.sums / self.count]).tolist()
        return dict(zip(self.names, latest)), dict(zip(self.names, means))

    def check_finite(self, where: str) -> None:
        """Raise RunFault with the step, and the values in it, if any value so far was not
        finite."""
        if not self.count or self.sums.isfinite().all():
            return
        parts = ", ".join(f"{name} {value:.6g}" for name, value in self.read()[0].items())
        raise RunFault(
            f"{where}, step {int(self.steps) - 1}: a loss is not finite: {parts}. {NOT_FINITE}"
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            name: value.clone() if torch.is_tensor(value) else value
            for name, value in vars(self).items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.names, self.count = state["names"], state["count"]
        if self.count:
            self.sums, self.latest, self.steps = (
                state[name].clone() for name in ("sums", "latest", "steps")
            )


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
            loss = F.cross_entropy(logits, labels, reduction="sum")
            sums = sums + torch.stack([*correct_topk(logits, labels), loss]).double()
    model.train(was_training)
    acc1, acc5, loss = (distributed.summed(sums) / count).tolist()
    return Evaluation(100 * acc1, 100 * acc5, loss)
