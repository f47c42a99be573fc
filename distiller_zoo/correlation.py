"""Correlation congruence, in the form that CRD's comparison gave it.

B. Peng, X. Jin, J. Liu, S. Zhou, Y. Wu, Y. Liu, D. Li, Z. Zhang, "Correlation Congruence for
Knowledge Distillation", ICCV 2019, arXiv 1904.01802. The paper compares kernel matrices of the
batch; CRD (Y. Tian et al., ICLR 2020, arXiv 1910.10699) compares each image only with the next one
in the batch, as here.
"""

import torch

from distiller_zoo.base import Batch, FeatureDistiller, Outputs, Setting
from distiller_zoo.connectors import LinearEmbed, full_precision
from distiller_zoo.registry import distillers
from helper.registry import Value, key


def correlation_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean over b = 1..B-1 of sum_d |e_bd| |e_(b+1)d|, e = student - teacher, each (B, D).

    A scalar, 0 or more; 0 if B = 1.
    """
    error = (student - teacher).abs()
    return (error[:-1] * error[1:]).sum() / max(len(error) - 1, 1)


@distillers.register("correlation")
class Correlation(FeatureDistiller):
    """`correlation_loss` of the pooled vectors, each through its own `LinearEmbed`.

    Any two networks pair.

    Both embeddings are trained, as published.
    """

    feat_dim = key(None, 1, 1e6, "size of the embedding", kind=int, flag="feat_dim")
    default_weight = 0.02

    def __init__(self, setting: Setting, **given: Value) -> None:
        super().__init__(setting, **given)
        self.embed_s = LinearEmbed(setting.student_shapes[-1][1], self.feat_dim)
        self.embed_t = LinearEmbed(setting.teacher_shapes[-1][1], self.feat_dim)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        embedded_s = self.embed_s(full_precision(student)[-1])  # (B, D)
        embedded_t = self.embed_t(full_precision(teacher)[-1])
        return correlation_loss(embedded_s, embedded_t)
