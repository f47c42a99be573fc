"""AutoAugment: two random operations out of a learned policy.

E. Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR 2019, arXiv 1805.09501, with
torchvision's policies and operations on uint8 images. One policy, one pair of coin tosses and signs serve
the whole batch (unless draw=sample). Pixels are rounded to bytes, so an operation that does not
happen changes nothing (the original system truncates, which darkens a fifth of the byte values by one).
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, MixSettings, mix_modes
from augment.keys import Value, key
from dataset.batches import normalize_for
from dataset.spec import DatasetSpec


class PolicyDraw(NamedTuple):
    """What torchvision's AutoAugment.get_params returns: policy (), probs (2,), signs (2,)."""

    policy: int
    probs: torch.Tensor
    signs: torch.Tensor


@mix_modes.register("autoaugment")
class AutoAugment(Augmentation):
    """A policy drawn anew for each batch, or for each image."""

    policy = key(
        None, choices=("cifar10", "imagenet", "svhn"), help="learned on which data; the data set's"
    )

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        # Imported here because it takes a second that no other mix mode needs.
        from torchvision.transforms import AutoAugment as TorchvisionAutoAugment
        from torchvision.transforms import AutoAugmentPolicy

        class WithGivenDraw(TorchvisionAutoAugment):
            """torchvision's operations, on draws made by `sample` instead of the global generator."""

            draw: PolicyDraw

            def get_params(self, transform_num: int) -> PolicyDraw:
                return self.draw

        self.operations = WithGivenDraw(AutoAugmentPolicy(self.policy or spec.autoaugment_policy))

    def sample(self, batch_size: int, generator: torch.Generator) -> list[PolicyDraw]:
        return [
            PolicyDraw(
                int(torch.randint(len(self.operations.policies), (1,), generator=generator)),
                torch.rand(2, generator=generator),
                torch.randint(2, (2,), generator=generator),
            )
            for _ in range(self.draws(batch_size))
        ]

    def apply(self, images: torch.Tensor, draw: list[PolicyDraw]) -> Augmented:
        normalize = normalize_for(self.spec, images.device)
        pixels = normalize.undo(images)  # (B, 3, H, W) uint8
        changed = []
        for one, group in zip(draw, pixels.split(len(pixels) // len(draw))):
            for place in range(2):
                group = self._operate(group, one, place)
            changed.append(group)
        pixels = torch.cat(changed).permute(0, 2, 3, 1).contiguous()  # (B, H, W, 3)
        return Augmented(normalize(pixels))

    def _operate(self, pixels: torch.Tensor, draw: PolicyDraw, place: int) -> torch.Tensor:
        """The policy's first or second operation, if its coin says so, on (B, 3, H, W) uint8."""
        name, probability, _ = self.operations.policies[draw.policy][place]
        if name == "Equalize":
            return equalize(pixels) if draw.probs[place] <= probability else pixels
        coins = torch.full_like(draw.probs, 2.0)  # the other operation does not happen
        coins[place] = draw.probs[place]
        self.operations.draw = draw._replace(probs=coins)
        return self.operations(pixels)


def equalize(pixels: torch.Tensor) -> torch.Tensor:
    """Histogram equalisation of every channel of every image, (B, C, H, W) uint8: torchvision's, to the byte.

    torchvision goes through the channels one by one, and on a GPU waits for each twice.
    """
    channels = pixels.flatten(2).long()  # (B, C, H * W)
    counts = channels.new_zeros(*channels.shape[:2], 256).scatter_add_(
        2, channels, torch.ones_like(channels)
    )
    of_brightest = counts.gather(2, channels.amax(2, keepdim=True))
    step = (channels.shape[2] - of_brightest) // 255  # (B, C, 1)
    table = ((counts.cumsum(2) + step // 2) // step.clamp(min=1)).clamp(max=255).roll(1, 2)
    table[..., 0] = 0
    equalized = torch.where(step == 0, channels, table.gather(2, channels))
    return equalized.to(torch.uint8).reshape(pixels.shape)
