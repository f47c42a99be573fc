"""Values that change with the epoch. Epochs count from 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from helper.errors import UserError


@dataclass(frozen=True)
class EpochSchedule:
    """A value that changes at given epochs. steps: (epoch, value from there on), ascending."""

    start: float
    steps: tuple[tuple[int, float], ...] = ()

    def at(self, epoch: int) -> float:
        value = self.start
        for first_epoch, new_value in self.steps:
            if epoch >= first_epoch:
                value = new_value
        return value

    @staticmethod
    def parse(flag: str, text: str, default: float) -> "EpochSchedule":
        """Read "0:0.75,150:1":

        0.75 up to epoch 149, then 1; `default` before the first epoch named.

        Raises UserError that names `flag` if the text is none.
        """
        steps = []
        for part in filter(None, text.split(",")):
            epoch, _, value = part.partition(":")
            try:
                steps.append((int(epoch), float(value)))
                if not 0 <= steps[-1][1] < math.inf:
                    raise ValueError
            except ValueError:
                raise UserError(
                    f"{flag} {text!r}: expected EPOCH:VALUE,EPOCH:VALUE,... such as 0:0.75,150:1,"
                    " values of at least 0"
                ) from None
        return EpochSchedule(default, tuple(sorted(steps)))


RATE_SCHEDULES = ("step", "cosine")


@dataclass(frozen=True)
class RateSchedule:
    """The learning rate by epoch."""

    base: float
    epochs: int
    """The whole length of the training."""
    decay_epochs: Sequence[int] = ()
    decay_rate: float = 0.1
    kind: str = "step"
    """One of RATE_SCHEDULES.

    cosine: I. Loshchilov, F. Hutter, "SGDR", ICLR 2017, arXiv 1608.03983, without restarts.
    """
    warmup_epochs: int = 0

    def at(self, epoch: int) -> float:
        """The rate during `epoch`.

        While it warms up, base * epoch / warmup_epochs. Then by steps (times `decay_rate` for each
        decay epoch that is over), or down half a cosine, from the base in the first epoch after the
        warm-up to 0 after the last.
        """
        if epoch <= self.warmup_epochs:
            return self.base * epoch / self.warmup_epochs
        if self.kind == "cosine":
            over = (epoch - 1 - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
            return self.base * (1 + math.cos(math.pi * over)) / 2
        return learning_rate(epoch, self.base, self.decay_epochs, self.decay_rate)


def learning_rate(epoch: int, base: float, decay_epochs: Sequence[int], decay_rate: float) -> float:
    """The rate during `epoch`: `base`, times `decay_rate` for each decay epoch that is over."""
    return base * decay_rate ** sum(epoch > decay_epoch for decay_epoch in decay_epochs)
