"""AutoAugment: two random operations out of a learned policy.

E. Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR 2019, arXiv 1805.09501, with
torchvision's policies and operations on uint8 images. One policy, one pair of coin tosses and signs serve
the whole batch (unless --mix_draw sample). Pixels are rounded to bytes, so an operation that does not
happen changes nothing (the original system truncates, which darkens a fifth of the byte values by one).
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, MixSettings, mix_modes
from dataset.batches import normalize_for
from dataset.spec import DatasetSpec


class PolicyDraw(NamedTuple):
    """What torchvision's AutoAugment.get_params returns: policy (), probs (2,), signs (2,)."""

    policy: int
    probs: torch.Tensor
    signs: torch.Tensor


@mix_modes.register("autoaugment")
class AutoAugment(Augmentation):
    def __init__(self, spec: DatasetSpec, settings: MixSettings) -> None:
        super().__init__(spec, settings)
        # Imported here because it takes a second that no other mix mode needs.
        from torchvision.transforms import AutoAugment as TorchvisionAutoAugment
        from torchvision.transforms import AutoAugmentPolicy

        class WithGivenDraw(TorchvisionAutoAugment):
            """torchvision's operations, on draws made by `sample` instead of the global generator."""

            draw: PolicyDraw

            def get_params(self, transform_num: int) -> PolicyDraw:
                return self.draw

        self.operations = WithGivenDraw(AutoAugmentPolicy(spec.autoaugment_policy))

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
            self.operations.draw = one
            changed.append(self.operations(group))
        pixels = torch.cat(changed).permute(0, 2, 3, 1).contiguous()  # (B, H, W, 3)
        return Augmented(normalize(pixels))
