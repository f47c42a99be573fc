"""Transfer of activation boundaries: which neurons fire, not by how much.

B. Heo, M. Lee, S. Yun, J. Y. Choi, "Knowledge Transfer via Distillation of Activation Boundaries
Formed by Hidden Neurons", AAAI 2019, arXiv 1811.03233. The factors are those of CRD's comparison
(Y. Tian et al., ICLR 2020, arXiv 1910.10699).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from distiller_zoo.base import FeatureDistiller, Outputs, Setting, total
from distiller_zoo.connectors import ConvReg, paired_maps, paired_shapes, same_size
from distiller_zoo.registry import distillers
from helper.registry import Value, key


def abound_loss(
    student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], *, margin: float = 1.0
) -> torch.Tensor:
    """Sum over the stages i = 1..n of 3/1000 2^(i-n) / B times the sum of the squared shortfalls.

    A scalar, 0 or more. Maps before the ReLU (B, C, H, W), the student's with the teacher's
    channels; the larger is averaged down. The student falls short where it does not lie `margin`
    beyond 0 on the teacher's side.
    """
    losses = []
    for stages_after, (s, t) in enumerate(reversed(list(zip(student, teacher)))):
        s, t = same_size(s, t)
        shortfall = (margin - torch.where(t > 0, s, -s)).clamp(min=0)
        losses.append(2.0**-stages_after * shortfall.square().sum() / len(s))
    return total(losses) * 3 / 1000


def connector(student_shape: torch.Size, teacher_shape: torch.Size) -> nn.Module:
    """Map the student's features to the teacher's shape; nothing where the shapes agree.

    Otherwise a convolution with BatchNorm, without ReLU.
    """
    if student_shape[1:] == teacher_shape[1:]:
        return nn.Identity()
    return ConvReg(student_shape, teacher_shape, has_relu=False)


@distillers.register("abound")
class ABound(FeatureDistiller):
    """`abound_loss` of the stages after the stem, before their ReLU, in the initial stage alone.

    Afterwards it adds nothing to the loss: the published weight is 0. Each of the student's maps
    goes through a `connector`. Where one network has more stages, the last ones count; where a
    student's map is smaller than the teacher's, and not half as large, the teacher's is averaged
    down (the authors have no connector for it).
    """

    margin = key(1.0, 0, 1e6, "how far from 0 the student's values should lie")
    preact = teacher_preact = True
    default_weight = 0.0
    has_initial_stage = True
    in_main_stage = False

    def __init__(self, setting: Setting, **given: Value) -> None:
        super().__init__(setting, **given)
        self.connectors = nn.ModuleList(connector(s, t) for s, t in paired_shapes(setting))

    def initial_modules(self, student: Any) -> list[nn.Module]:
        return [student.get_feat_modules(), self.connectors]

    def initial_loss(self, student: Outputs, teacher: Outputs) -> torch.Tensor:
        maps_s, maps_t = zip(*paired_maps(student, teacher))
        connected = [connect(m) for connect, m in zip(self.connectors, maps_s)]
        return abound_loss(connected, maps_t, margin=self.margin)
