"""RandAugment and TrivialAugment: random operations without a learned policy.

Spaces and defaults are torchvision's. All images of a batch get the same operations (unless
draw=sample).
"""

from typing import NamedTuple

import torch

from augment.autoaugment import Operated
from augment.base import MixSettings, mix_modes
from augment.keys import Value, key
from augment.operations import OPERATIONS, SIGNED, Operation, Space
from dataset.spec import DatasetSpec

NAMES = tuple(name for name in OPERATIONS if name != "Invert")
BINS = 31


class OperationDraw(NamedTuple):
    """Draws, each (n,) int64, where n is 1 or B.

    name: a place in NAMES. step: of the operation's strength. negative: 1 for a negative strength.
    """

    name: torch.Tensor
    step: torch.Tensor
    negative: torch.Tensor

    def under(self, space: Space) -> Operation:
        names = [NAMES[index] for index in self.name.tolist()]
        strengths = [
            space.strength(name, step) * (-1 if sign and name in SIGNED else 1)
            for name, step, sign in zip(names, self.step.tolist(), self.negative.tolist())
        ]
        return Operation(names, torch.tensor(strengths, dtype=torch.float64))


class RandomOperations(Operated):
    """Operations that are drawn independently of each other."""

    space: Space

    def operations(self, draw: list[OperationDraw]) -> list[Operation]:
        return [one.under(self.space) for one in draw]


@mix_modes.register("randaugment")
class RandAugment(RandomOperations):
    """Some operations of one strength.

    E. Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search
    Space", CVPR Workshops 2020, arXiv 1909.13719. Defaults: torchvision's (transforms.RandAugment),
    N = 2 and M = 9 of 0..30, as the paper has them for ResNet-50 on ImageNet. The authors' released
    code divides M by 10, not by 30: their 9 is three times as strong.
    """

    paper = "Cubuk 2020, arXiv 1909.13719"

    num_ops = key(2, 1, 10, "operations on each image: N")
    magnitude = key(9, 0, BINS - 1, "step of their strength: M")

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        self.space = Space(BINS, 0.3, 150 / 331 * spec.img_size, 30, 0.9, (8, 4))

    def sample(self, batch_size: int, generator: torch.Generator) -> list[OperationDraw]:
        shape = (self.num_ops, self.draws(batch_size))
        names = torch.randint(len(NAMES), shape, generator=generator)
        steps = torch.full(shape, self.magnitude)
        signs = torch.randint(2, shape, generator=generator)
        return [OperationDraw(*each) for each in zip(names, steps, signs)]


@mix_modes.register("trivialaugment")
class TrivialAugment(RandomOperations):
    """One operation of any strength.

    S. Mueller, F. Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation",
    ICCV 2021, arXiv 2103.10158, with the wide space. It has no strength to set.
    """

    paper = "Mueller 2021, arXiv 2103.10158"

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        self.space = Space(BINS, 0.99, 32, 135, 0.99, (8, 6))

    def sample(self, batch_size: int, generator: torch.Generator) -> list[OperationDraw]:
        count = (self.draws(batch_size),)
        bounds = (len(NAMES), BINS, 2)
        draws = (torch.randint(bound, count, generator=generator) for bound in bounds)
        return [OperationDraw(*draws)]
