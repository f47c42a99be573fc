"""DIST: the student matches how the teacher ranks, not its exact probabilities.

T. Huang, S. You, F. Wang, C. Qian, C. Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS
2022, arXiv 2205.10536.
"""

from typing import ClassVar

import torch

from distiller_zoo.base import LogitDistiller, Published, at_least_float32
from distiller_zoo.registry import distillers
from helper.registry import key


def pearson_distance(
    a: torch.Tensor, b: torch.Tensor, *, dim: int, eps: float = 1e-8
) -> torch.Tensor:
    """1 - Pearson's correlation along `dim`, averaged over the other dimension: a scalar, 0 to 2.

    a, b: (N, M). As published `eps` is added to the product of the norms: rows without variation
    count 1.
    """
    a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    correlation = (a * b).sum(dim) / (a.norm(dim=dim) * b.norm(dim=dim) + eps)
    return 1 - correlation.mean()


def dist_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    *,
    beta: float = 2.0,
    gamma: float = 2.0,
    temperature: float = 4.0,
    eps: float = 1e-8,
) -> torch.Tensor:
    """T^2 (beta * inter + gamma * intra), a scalar, 0 or more.

    With p = softmax(logits / T), inter is `pearson_distance` of an image's probabilities of all
    classes, mean over the images; intra that of a class's probabilities for all images, mean over
    the classes. Both logits: (P, K). The loss is 0 where the student's probabilities are a p + b, a
    > 0, of the teacher's p.
    """
    student = (at_least_float32(student_logits) / temperature).softmax(1)
    teacher = (at_least_float32(teacher_logits) / temperature).softmax(1)
    inter = pearson_distance(student, teacher, dim=1, eps=eps)
    intra = pearson_distance(student, teacher, dim=0, eps=eps)
    return temperature**2 * (beta * inter + gamma * intra)


@distillers.register("dist")
class DIST(LogitDistiller):
    """`dist_loss`. Of a view with one image the intra-class term has no gradient.

    The authors' configuration for CIFAR-100 has beta = gamma = 2 and T 4 for all pairs, T 1 on
    ImageNet.
    """

    beta = key(2.0, 0, 1e6, "weight of the relation between classes")
    gamma = key(2.0, 0, 1e6, "weight of the relation between images")
    T = key(4.0, 0.01, 1000, "temperature")
    published: ClassVar[Published] = {"imagenet": {"": {"T": 1.0}}}
    loss = staticmethod(dist_loss)
