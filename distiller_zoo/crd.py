"""Contrastive representation distillation: are two embeddings of one image, or of two?

Y. Tian, D. Krishnan, P. Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv
1910.10699. The memory banks are those of Z. Wu, Y. Xiong, S. X. Yu, D. Lin, "Unsupervised Feature
Learning via Non-Parametric Instance Discrimination", CVPR 2018, arXiv 1805.01978.

Deviates from the original in how the images to contrast are drawn: there in the data loader, image
by image, and without replacement where enough other images are there; here by `ContrastSampler`, a
batch's at once, on the device, with replacement.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from distiller_zoo.base import Batch, FeatureDistiller, Outputs, Setting
from distiller_zoo.connectors import LinearEmbed, full_precision
from distiller_zoo.registry import distillers
from helper.errors import UserError
from helper.registry import Value, key

EPS = 1e-7


class ContrastSampler(nn.Module):
    """Chooses the images of the training set that an image is contrasted with."""

    labels: torch.Tensor
    order: torch.Tensor
    start: torch.Tensor
    count: torch.Tensor

    def __init__(self, labels: torch.Tensor, mode: str = "exact") -> None:
        """labels: (N,) of the training set. mode: the positive is the image itself ("exact") or any
        of its class ("relax").
        """
        super().__init__()
        if mode not in ("exact", "relax"):
            raise UserError(f"--distill crd: unknown --mode {mode!r}. Choices: exact, relax")
        count = torch.bincount(labels)
        if count.max() == len(labels):
            raise UserError("--distill crd: needs training images of at least two classes")
        self.mode = mode
        buffers = {
            "labels": labels.clone(),
            "order": labels.argsort(stable=True),  # (N,) the images, class by class
            "start": count.cumsum(0) - count,  # (K,) where each class begins in it
            "count": count,  # (K,)
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    def forward(
        self, rows: torch.Tensor, negatives: int, generator: torch.Generator
    ) -> torch.Tensor:
        """rows: (B,) of the batch -> (B, 1 + negatives): a positive, then other classes.

        The negatives are independent and uniform, so one may come twice. `generator` is on the
        rows' device.
        """
        labels = self.labels[rows]
        start, count = self.start[labels][:, None], self.count[labels][:, None]  # (B, 1)
        shape = (len(rows), 1 + negatives)
        # As good as uniform after % n.
        draws = torch.randint(2**62, shape, generator=generator, device=rows.device)
        # The place is one in the order without the image's own class.
        place = draws[:, 1:] % (len(self.order) - count)
        negative = self.order[torch.where(place < start, place, place + count)]  # (B, negatives)
        positive = (
            rows[:, None] if self.mode == "exact" else self.order[start + draws[:, :1] % count]
        )
        return torch.cat([positive, negative], 1)


def crd_loss(
    p_student: torch.Tensor, p_teacher: torch.Tensor, indices: torch.Tensor
) -> torch.Tensor:
    """Noise-contrastive estimation, for the student's embeddings plus for the teacher's.

    p: (B, N), the probability of each of the N training images to be the one whose embedding is
    given.
    indices: (B, 1 + K) into N, the positive first. With noise = K / N, the mean over the batch of

        -log(p_0 / (p_0 + noise)) - sum over the K negatives of log(noise / (p_k + noise))

    The sum is taken over all N images, times how often each was drawn. To gather the K would give
    the same value, but on a GPU a gradient that differs from run to run: sums over what is drawn
    twice have no order.
    """
    positive, negatives = indices[:, :1], indices[:, 1:]
    noise = negatives.shape[1] / p_student.shape[1]
    drawn = torch.zeros_like(p_student).scatter_add_(
        1, negatives, p_student.new_ones(negatives.shape)
    )  # (B, N)

    def nce(p: torch.Tensor) -> torch.Tensor:
        p_0 = p.gather(1, positive)
        of_positives = (p_0 / (p_0 + noise + EPS)).log().sum()
        of_negatives = (drawn * (noise / (p + noise + EPS)).log()).sum()
        return -(of_positives + of_negatives) / len(p)

    return nce(p_student) + nce(p_teacher)


class ContrastMemory(nn.Module):
    """An embedding of every training image by each network, averaged over the times it was seen."""

    params: torch.Tensor
    memory_v1: torch.Tensor
    memory_v2: torch.Tensor

    def __init__(self, images: int, dim: int, *, nce_k: int, nce_t: float, nce_m: float) -> None:
        """nce_k: negatives; nce_t: temperature; nce_m: how much of an old row stays."""
        super().__init__()
        # negatives, temperature, two normalisation constants (-1: not known yet), momentum
        params = torch.tensor([nce_k, nce_t, -1, -1, nce_m], dtype=torch.float32)
        self.register_buffer("params", params)
        bound = 1 / math.sqrt(dim / 3)  # a row's length is about 1
        for name in ("memory_v1", "memory_v2"):  # the student's, the teacher's: (N, D)
            self.register_buffer(name, torch.empty(images, dim).uniform_(-bound, bound))

    def forward(self, v1: torch.Tensor, v2: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Unit embeddings (B, D) of student and teacher, indices (B, 1 + K) -> `crd_loss`.

        Each network's embeddings meet the other's memory.
        """
        temperature = self.params[1].clone()  # `params` changes before the backward pass
        p1 = (v1 @ self.memory_v2.T / temperature).exp()  # (B, N), not normalised
        p2 = (v2 @ self.memory_v1.T / temperature).exp()
        # Constants of the first batch. An `if` would wait for the device, `where` does not.
        with torch.no_grad():
            now = torch.stack([p.gather(1, indices).mean() for p in (p1, p2)]) * len(self.memory_v1)
            constants = torch.where(self.params[2:4] < 0, now, self.params[2:4])
            self.params[2:4] = constants
        return crd_loss(p1 / constants[0], p2 / constants[1], indices)

    @torch.no_grad()
    def update(self, v1: torch.Tensor, v2: torch.Tensor, rows: torch.Tensor) -> None:
        """Move the rows (B,) of the embedded images towards their unit embeddings (B, D).

        Makes new tensors: the backward pass still needs the old.
        """
        self.memory_v1 = self._moved(self.memory_v1, v1, rows)
        self.memory_v2 = self._moved(self.memory_v2, v2, rows)

    def _moved(self, memory: torch.Tensor, v: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        momentum = self.params[4]
        return memory.index_copy(0, rows, F.normalize(momentum * memory[rows] + (1 - momentum) * v))


@distillers.register("crd")
class CRD(FeatureDistiller):
    """`crd_loss` of the pooled vectors, each through a linear embedding of unit length.

    Any networks pair.

    A second view is contrasted as the image it was made from, and leaves the memory as it is.

    On the device, for CIFAR-100 and the default options: two banks of 50,000 x 128 float32,
    together 51 MB, as much again from their update to the end of the step, and some ten tensors
    (64, 50,000) of 12.8 MB. To gather the negatives' embeddings would take 64 x 16,385 x 128 x 4 B
    = 537 MB for each bank. The tensors grow with the training set: to 328 MB each for ImageNet's
    1.28 million images.

    The random draws are made on the device, by a generator seeded in each step from
    `setting.generator`. So they follow from the state of that one, which is on the CPU and is what
    a checkpoint keeps; to draw the million numbers of a step there would take 10 ms and a transfer.
    They differ between CPU and GPU.
    """

    mode = key(
        None,
        choices=("exact", "relax"),
        flag="mode",
        help="the positive: the image, or any of its class",
    )
    nce_k = key(None, 1, 1e9, "negatives for each image", kind=int, flag="nce_k")
    nce_t = key(None, 0.0001, 1000, "temperature", kind=float, flag="nce_t")
    nce_m = key(None, 0, 1, "share of the old memory that stays", kind=float, flag="nce_m")
    feat_dim = key(None, 1, 1e6, "size of the embedding", kind=int, flag="feat_dim")
    default_weight = 0.8

    def __init__(self, setting: Setting, **given: Value) -> None:
        super().__init__(setting, **given)
        assert setting.train_labels is not None
        self.generator = setting.generator or torch.Generator()
        self.embed_s = LinearEmbed(setting.student_shapes[-1][1], self.feat_dim)
        self.embed_t = LinearEmbed(setting.teacher_shapes[-1][1], self.feat_dim)
        self.sampler = ContrastSampler(setting.train_labels, self.mode)
        self.contrast = ContrastMemory(
            len(setting.train_labels),
            self.feat_dim,
            nce_k=self.nce_k,
            nce_t=self.nce_t,
            nce_m=self.nce_m,
        )

    def describe(self) -> str:
        return f"negatives out of {len(self.contrast.memory_v1)} images"

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        v1 = F.normalize(self.embed_s(full_precision(student)[-1]))  # (B, D)
        v2 = F.normalize(self.embed_t(full_precision(teacher)[-1]))
        loss = self.contrast(v1, v2, self.draw_indices(batch.rows))
        if batch.is_clean:
            self.contrast.update(v1, v2, batch.rows)
        return loss

    def draw_indices(self, rows: torch.Tensor) -> torch.Tensor:
        """rows: (B,) -> (B, 1 + nce_k) images to contrast them with."""
        seed = int(torch.randint(2**62, (), generator=self.generator))
        return self.sampler(rows, self.nce_k, torch.Generator(rows.device).manual_seed(seed))
