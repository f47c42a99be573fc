"""FMix: a region of another image, its shape drawn from low-frequency noise.

E. Harris et al., "FMix: Enhancing Mixed Sample Data Augmentation", 2020, arXiv 2002.12047, with the
defaults of the authors' code (ecs-vlc/FMix, class FMix): alpha 1, decay power 3, hard edges. One
region for the batch (unless draw=sample), partners per image. lam is the exact share of the image
that was kept: the drawn one, to the next pixel.
"""

from typing import NamedTuple

import torch

from augment.base import Augmentation, Augmented, mix_modes
from augment.draws import draw_beta
from augment.keys import key


class FMixDraw(NamedTuple):
    """kept: (n, 1, H, W) bool, True where the image stays.
    partner: (B,); an image may be its own partner.
    """

    kept: torch.Tensor
    partner: torch.Tensor


@mix_modes.register("fmix")
class FMix(Augmentation):
    """A cloudy region of another image.

    It is where a random picture is darkest: a share 1 - lam of its pixels.
    """

    paper = "Harris 2020, arXiv 2002.12047"
    mixes = True
    alpha = key(1.0, 0.01, 100, "lam ~ Beta(alpha, alpha)")
    decay = key(3.0, 0, 10, "power of the frequency by which the noise falls")

    def sample(self, batch_size: int, generator: torch.Generator) -> FMixDraw:
        count, side = self.draws(batch_size), self.spec.img_size
        lam = draw_beta(self.alpha, count, generator)
        pictures = low_frequency_noise(count, side, self.decay, generator).flatten(1)
        rank = pictures.argsort(dim=1, descending=True, stable=True).argsort(dim=1)  # (n, H * W)
        kept = rank < (lam[:, None] * side**2).round()
        return FMixDraw(
            kept.view(count, 1, side, side), torch.randperm(batch_size, generator=generator)
        )

    def apply(self, images: torch.Tensor, draw: FMixDraw) -> Augmented:
        partner = draw.partner.to(images.device, non_blocking=True)
        lam = draw.kept.double().mean(dim=(1, 2, 3)).float().expand(len(images))
        kept = draw.kept.to(images.device, non_blocking=True)
        mixed = torch.where(kept, images, images[partner])
        return Augmented(mixed, partner, lam.to(images.device, non_blocking=True))


def low_frequency_noise(
    count: int, side: int, decay: float, generator: torch.Generator
) -> torch.Tensor:
    """Gaussian noise whose amplitude falls with frequency ** decay: (count, side, side) float32.

    The lowest frequency counts as 1 / side, as the authors have it.
    """
    spectrum = torch.randn(count, side, side // 2 + 1, 2, generator=generator)
    frequency = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None])
    amplitude = frequency.clamp(min=1 / side) ** -decay
    return torch.fft.irfft2(torch.view_as_complex(spectrum) * amplitude, s=(side, side))
