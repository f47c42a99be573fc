"""The second, stronger view of a batch: `build("cutout+mixup", spec, settings)(images, generator)`.

To add a stage: a file with a registered Augmentation, an import below, a test. chain.py has the
grammar.
"""

from augment import geometric  # noqa: F401  (imported to be registered, in the order of the paper's tables)
from augment import cutout  # noqa: F401
from augment import autoaugment  # noqa: F401
from augment import mixup  # noqa: F401
from augment import cutmix  # noqa: F401
from augment import randaugment  # noqa: F401
from augment import augmix  # noqa: F401
from augment import resizedcrop  # noqa: F401
from augment import erasing  # noqa: F401
from augment import gridmask  # noqa: F401
from augment import patches  # noqa: F401
from augment import jitter  # noqa: F401
from augment import blur  # noqa: F401
from augment import noise  # noqa: F401
from augment import colour  # noqa: F401
from augment import resizemix  # noqa: F401
from augment import fmix  # noqa: F401
from augment import ricap  # noqa: F401
from augment import several  # noqa: F401
from augment.base import Augmentation, Augmented, MixSettings, mix_modes
from augment.chain import Stage, build, parse, picks, spell_chain, with_flags
from augment.pick import Pick, PoolLogits, pick_criteria

PUBLISHED = ("identity", "flip", "crop", "crop+flip", "cutout", "autoaugment", "mixup", "cutmix")
"""The paper's schemes, its picks apart."""

__all__ = [
    "PUBLISHED",
    "Augmentation",
    "Augmented",
    "MixSettings",
    "Pick",
    "PoolLogits",
    "Stage",
    "build",
    "mix_modes",
    "parse",
    "pick_criteria",
    "picks",
    "spell_chain",
    "with_flags",
]
