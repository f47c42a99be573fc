"""AugMix: the image mixed with chains of operations on itself.

D. Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and
Uncertainty", ICLR 2020, arXiv 1912.02781. Defaults are the paper's for CIFAR and torchvision's
(transforms.AugMix): severity 3, width 3, depth 1 to 3, alpha 1, pixels moved bilinearly. The
operations are torchvision's, colours among them; the authors leave those out, since the benchmark
of corruptions has them. The paper's consistency loss is not part of a view. The mix is not rounded
to bytes. A view is made of its own image alone. With draw=sample it costs most of all stages, up to
nine operations on every image: 3 to 4 % of a step of wrn_40_2/wrn_16_2 on a CPU.
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, MixSettings, mix_modes
from augment.draws import draw_dirichlet
from augment.keys import Value, key
from augment.operations import Space, operate
from augment.randaugment import NAMES, OperationDraw
from dataset.batches import normalize_for
from dataset.spec import DatasetSpec

DEPTH = 3
DRAWN = NAMES[1:]
"""All but the identity."""


class AugMixDraw(NamedTuple):
    """weights: (n, 1 + width) of the image and the chains, sum 1; n is 1 or B.

    chains: `width` lists of DEPTH operations.
    """

    weights: torch.Tensor
    chains: list[list[OperationDraw]]


@mix_modes.register("augmix")
class AugMix(Augmentation):
    """An image mixed with chains of operations on it. The weights are Dirichlet and Beta draws."""

    paper = "Hendrycks 2020, arXiv 1912.02781"

    severity = key(3, 1, 10, "steps of strength, of 10, that are drawn")
    width = key(3, 1, 10, "chains")
    alpha = key(1.0, 0.01, 100, "of the Dirichlet and Beta weights")

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Value) -> None:
        super().__init__(spec, settings, **values)
        self.space = Space(10, 0.3, spec.img_size / 3, 30, 0.9, (4, 4))

    def sample(self, batch_size: int, generator: torch.Generator) -> AugMixDraw:
        count = self.draws(batch_size)
        image, mixed = draw_dirichlet(self.alpha, (count, 2), generator).split(1, dim=1)
        weights = torch.cat(
            [image, mixed * draw_dirichlet(self.alpha, (count, self.width), generator)], 1
        )
        return AugMixDraw(weights, [self._chain(count, generator) for _ in range(self.width)])

    def _chain(self, count: int, generator: torch.Generator) -> list[OperationDraw]:
        """DEPTH operations; those beyond an image's depth are the identity."""
        depth = torch.randint(1, DEPTH + 1, (count,), generator=generator)
        shape = (DEPTH, count)
        names = 1 + torch.randint(len(DRAWN), shape, generator=generator)
        steps = torch.randint(self.severity, shape, generator=generator)
        signs = torch.randint(2, shape, generator=generator)
        names *= torch.arange(DEPTH)[:, None] < depth
        return [OperationDraw(*each) for each in zip(names, steps, signs)]

    def apply(self, images: torch.Tensor, draw: AugMixDraw) -> Augmented:
        normalize = normalize_for(self.spec, images.device)
        pixels = normalize.undo(images)
        weights = draw.weights.float().to(images.device, non_blocking=True)[..., None, None, None]
        mixed = weights[:, 0] * images
        for weight, chain in zip(weights.unbind(1)[1:], draw.chains):
            changed = pixels
            for operation in chain:
                changed = operate(changed, operation.under(self.space), "bilinear")
            mixed = mixed + weight * normalize(changed.permute(0, 2, 3, 1).contiguous())
        return Augmented(mixed)
