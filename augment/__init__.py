"""The second, stronger view of a batch: `mix_modes[name](spec, settings)(images, generator)`.

To add a mix mode: a file with a registered Augmentation, an import below, a test.
"""

from augment import geometric  # noqa: F401  (imported to be registered, in the order of the paper's tables)
from augment import cutout  # noqa: F401
from augment import autoaugment  # noqa: F401
from augment import mixup  # noqa: F401
from augment import cutmix  # noqa: F401
from augment.base import Augmentation, Augmented, MixSettings, mix_modes
from augment.pick import Pick, PoolLogits, pick_criteria

__all__ = [
    "Augmentation",
    "Augmented",
    "MixSettings",
    "Pick",
    "PoolLogits",
    "mix_modes",
    "pick_criteria",
]
