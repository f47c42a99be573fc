"""AutoAugment: two random operations out of a learned policy.

E. Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR 2019, arXiv
1805.09501, with torchvision's policies and operations on uint8 images. One policy, one pair of coin
tosses and signs serve the whole batch (unless draw=sample). Pixels are rounded to bytes, so an
operation that does not happen changes nothing (the original system truncates, which darkens a fifth
of the byte values by one).
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, MixSettings, mix_modes
from augment.keys import Value, key
from augment.operations import SIGNED, Operation, Space, operate
from dataset.batches import normalize_for
from dataset.spec import DatasetSpec


class Operated(Augmentation):
    """Operations on bytes, one after the other; `operations` says which."""

    def operations(self, draw: list) -> list[Operation]:
        raise NotImplementedError

    def apply(self, images: torch.Tensor, draw: list) -> Augmented:
        normalize = normalize_for(self.spec, images.device)
        pixels = normalize.undo(images)  # (B, 3, H, W) uint8
        for operation in self.operations(draw):
            pixels = operate(pixels, operation)
        return Augmented(normalize(pixels.permute(0, 2, 3, 1).contiguous()))


class PolicyDraw(NamedTuple):
    """policy (), probs (2,): the coins of its operations, signs (2,): 0 for a negative strength."""

    policy: int
    probs: torch.Tensor
    signs: torch.Tensor


@mix_modes.register("autoaugment")
class AutoAugment(Operated):
    """A learned policy of two operations, drawn anew for each batch or image."""

    paper = "Cubuk 2019, arXiv 1805.09501"
    policy = key(
        None, choices=("cifar10", "imagenet", "svhn"), help="learned on which data; the data set's"
    )

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        # Imported here because it takes a second that other stages do not need.
        from torchvision.transforms import AutoAugment as TorchvisionAutoAugment
        from torchvision.transforms import AutoAugmentPolicy

        name = self.policy or spec.autoaugment_policy
        self.policies = TorchvisionAutoAugment(AutoAugmentPolicy(name)).policies
        """Pairs of (operation, probability, step of its strength or None)."""
        self.space = Space(10, 0.3, 150 / 331 * spec.img_size, 30, 0.9, (8, 4))

    def sample(self, batch_size: int, generator: torch.Generator) -> list[PolicyDraw]:
        return [
            PolicyDraw(
                int(torch.randint(len(self.policies), (1,), generator=generator)),
                torch.rand(2, generator=generator),
                torch.randint(2, (2,), generator=generator),
            )
            for _ in range(self.draws(batch_size))
        ]

    def operations(self, draw: list[PolicyDraw]) -> list[Operation]:
        return [
            Operation(names, torch.tensor(strengths, dtype=torch.float64))
            for names, strengths in (
                zip(*(self._operation(one, place) for one in draw)) for place in range(2)
            )
        ]

    def _operation(self, draw: PolicyDraw, place: int) -> tuple[str, float]:
        """The policy's first or second operation and its strength, or none if its coin says so."""
        name, probability, step = self.policies[draw.policy][place]
        if draw.probs[place] > probability:
            return "Identity", 0.0
        strength = 0.0 if step is None else self.space.strength(name, step)
        return name, -strength if name in SIGNED and draw.signs[place] == 0 else strength
