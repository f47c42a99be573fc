"""Accuracy and loss: sums that stay on the device until a line is written."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from helper.networks import logits_of


def correct_topk(logits: torch.Tensor, labels: torch.Tensor, ks: tuple[int, ...] = (1, 5)) -> torch.Tensor:
    """How many labels are among the k largest logits, for each k: (B, K), (B,) -> (len(ks),) float.

    With fewer than k classes every label is.
    """
    ranked = logits.topk(min(max(ks), logits.shape[1]), dim=1).indices  # (B, k)
    hits = ranked == labels[:, None]
    return torch.stack([hits[:, :k].sum() for k in ks]).float()


class MeanMeter:
    """Means of named scalars, weighted by batch size, kept on the device; reading them is the only wait."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.count = 0

    def update(self, values: dict[str, torch.Tensor], weight: int) -> None:
        """Add one batch's scalars. Every call brings the same names."""
        latest = torch.stack([value.detach().double() for value in values.values()])
        if not self.count:
            self.names, self.sums = tuple(values), torch.zeros_like(latest)
        self.latest = latest
        self.sums += latest * weight
        self.count += weight

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        """(latest values, means so far), by name."""
        latest, means = torch.stack([self.latest, self.sums / self.count]).tolist()
        return dict(zip(self.names, latest)), dict(zip(self.names, means))


@dataclass(frozen=True)
class Evaluation:
    """Top-1 and top-5 accuracy in percent, and the mean cross-entropy in nats, over all samples."""

    acc1: float
    acc5: float
    loss: float


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], *, amp: bool = False
) -> Evaluation:
    """The model in eval mode over a whole split. Leaves it in the mode it was in."""
    was_training = model.training
    model.eval()
    sums, count = 0, 0
    for images, labels, _ in batches:
        logits = logits_of(model, images, amp=amp)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        sums = sums + torch.stack([*correct_topk(logits, labels), loss]).double()
        count += len(labels)
    model.train(was_training)
    acc1, acc5, loss = (sums / count).tolist()
    return Evaluation(100 * acc1, 100 * acc5, loss)
