"""Flow of solution procedure: the products of the maps at the two ends of each stage.

J. Yim, D. Joo, J. Bae, J. Kim, "A Gift from Knowledge Distillation: Fast Optimization, Network
Minimization and Transfer Learning", CVPR 2017 (no arXiv version).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from distiller_zoo.base import FeatureDistiller, Outputs, Setting, total
from distiller_zoo.connectors import (
    paired_maps,
    paired_shapes,
    require_equal_channels,
    same_size,
)
from distiller_zoo.registry import distillers
from helper.registry import Value


def fsp_loss(student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum over consecutive maps of the mean squared difference of the flow matrices: 0 or more.

    Maps (B, C, H, W), as many of the student as of the teacher, with the same channels.
    """
    return total(
        F.mse_loss(_flow(*s), _flow(*t)) for s, t in zip(pairwise(student), pairwise(teacher))
    )


def _flow(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Maps of C and C' channels -> (B, C, C'): the mean over space of products.

    The larger averaged down.
    """
    before, after = (m.flatten(2) for m in same_size(before, after))  # (B, C, HW)
    return before @ after.mT / before.shape[2]


@distillers.register("fsp")
class FSP(FeatureDistiller):
    """`fsp_loss` of the stem and all stages, in the initial stage alone.

    It prepares the student's maps.

    Afterwards it adds nothing to the loss, and the published weight 50 multiplies nothing. Where
    one network has more maps, the last ones count. UserError if the channels differ.
    """

    default_weight = 50.0
    has_initial_stage = True
    in_main_stage = False

    def __init__(self, setting: Setting, **given: Value) -> None:
        super().__init__(setting, **given)
        require_equal_channels("fsp", paired_shapes(setting, first=0))

    def initial_modules(self, student: Any) -> list[nn.Module]:
        return [student.get_feat_modules()]

    def initial_loss(self, student: Outputs, teacher: Outputs) -> torch.Tensor:
        return fsp_loss(*zip(*paired_maps(student, teacher, first=0)))
