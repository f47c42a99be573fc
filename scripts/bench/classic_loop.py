"""The loop that the fast one is measured against, as code in the line of CRD writes it.

A DataLoader whose workers transform PIL images, float32 tensors in NCHW memory, the teacher and the
student once per view, the teacher once more on the views that were picked, `.item()` on every loss
and accuracy in every step. The random views are made by our augmentations, so that both loops can
be given the same ones. The T. stddev pass runs the teacher alone, which the original's, training at
a rate of 0, did not: it is no straw man.
"""

import contextlib
import multiprocessing
import os
from argparse import Namespace
from collections import defaultdict
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.nn.functional as F
from scripts.bench.fast_loop import PICK_RUNS, Case, endless, load_data, new_network, synchronize
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from augment import Augmentation, Augmented, MixSettings, mix_modes
from dataset.spec import DatasetSpec, ImageSet
from helper.errors import UserError
from helper.setup.machine import select_device
from helper.step.networks import freeze
from helper.step.teacher_stats import GROUP_STEPS

TEMPERATURE = 4.0
GAMMA, ALPHA = 0.1, 0.9


class PilImages(TorchDataset):
    """A split as torchvision's CIFAR100 class serves it: (image (3, H, W), label)."""

    def __init__(self, split: ImageSet, spec: DatasetSpec) -> None:
        self.images, self.labels = split.images.cpu().numpy(), split.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(spec.img_size, padding=spec.crop_padding),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(spec.mean, spec.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[row])), self.labels[row]


def classic_batches(split: ImageSet, spec: DatasetSpec, batch_size: int) -> DataLoader:
    """Eight workers, as published, but no more than processors, which would be slower.

    Forked, as on Linux by default: in this process, which was spawned, they would be spawned too,
    and each would import PyTorch before the next may start.
    """
    workers = min(8, os.cpu_count() or 1)
    return DataLoader(
        PilImages(split, spec), batch_size=batch_size, shuffle=True, num_workers=workers,
        multiprocessing_context="fork",
    )  # fmt: skip


@dataclass
class ClassicLoop:
    """KD with lw_mix [1,0,1], the teacher's view output its target, and the T. stddev pass."""

    teacher: nn.Module
    student: nn.Module
    augment: Augmentation
    generator: torch.Generator
    pick_count: int | None = None
    """cutmix_pick by teacher_entropy: how many views of the pool are kept."""
    amounts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """The logged values: one number a step."""

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.SGD(
            self.student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4
        )
        self.probabilities, self.draws = [], []

    def second_view(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (P, 3, H, W)."""
        view = self.augment(images, self.generator)
        return self.picked(view).images.contiguous()

    def picked(self, view: Augmented) -> Augmented:
        if self.pick_count is None:
            return view
        with torch.no_grad():
            _, logits = self.teacher(view.images.contiguous(), is_feat=True)
        probability = logits.softmax(dim=1)
        entropy = -(probability * probability.log()).sum(dim=1)
        return view.take(entropy.argsort(stable=True)[-self.pick_count :])

    def losses(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Forward: teacher and student on the batch, then both on its second view."""
        _, logits = self.student(images, is_feat=True)
        with torch.no_grad():
            _, teacher_logits = self.teacher(images, is_feat=True)
        view = self.second_view(images)
        _, view_logits = self.student(view, is_feat=True)
        with torch.no_grad():
            _, teacher_view_logits = self.teacher(view, is_feat=True)
        self.logits = logits
        return {
            "cls": F.cross_entropy(logits, labels),
            "div-oriKLD": kd(logits, teacher_logits),
            "div-mixKLD": kd(view_logits, teacher_view_logits),
        }

    def train_step(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """One optimisation step; every number is read at once. Returns the losses."""
        losses = self.losses(images, labels)
        total = GAMMA * losses["cls"] + ALPHA * (losses["div-oriKLD"] + losses["div-mixKLD"])
        numbers = {name: loss.item() for name, loss in losses.items()} | {"loss": total.item()}
        numbers |= {f"acc{k}": accuracy(self.logits, labels, k).item() for k in (1, 5)}
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        for name, number in numbers.items():
            self.amounts[name].append(number)
        return numbers

    @torch.no_grad()
    def measure_step(self, images: torch.Tensor) -> None:
        """One step of the T. stddev pass."""
        for seen in (images, self.second_view(images)):
            _, logits = self.teacher(seen, is_feat=True)
            self.probabilities.append(logits.softmax(dim=1))
        if len(self.probabilities) == 2 * GROUP_STEPS:
            self.draws.append(torch.cat(self.probabilities).mean(dim=0))
            self.probabilities = []
            if len(self.draws) > 1:
                self.amounts["t_stddev"].append(torch.stack(self.draws).std(dim=0).mean().item())


def kd(student_logits: torch.Tensor, teacher_logits: torch.Tensor) -> torch.Tensor:
    """T^2 times the mean over the batch of KL(teacher || student), both (B, K) softened by T."""
    log_student = F.log_softmax(student_logits / TEMPERATURE, dim=1)
    teacher = F.softmax(teacher_logits / TEMPERATURE, dim=1)
    return F.kl_div(log_student, teacher, reduction="sum") * TEMPERATURE**2 / len(student_logits)


def accuracy(logits: torch.Tensor, labels: torch.Tensor, k: int) -> torch.Tensor:
    """Percent of the labels among the k largest logits."""
    hits = logits.topk(min(k, logits.shape[1]), dim=1).indices == labels[:, None]
    return hits.any(dim=1).float().mean() * 100


class ClassicProcess:
    """The loop on its own batches, in a process with the system's memory settings."""

    def __init__(self, options: Namespace, case: Case) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, its_end = context.Pipe()
        self.process = context.Process(target=serve_classic, args=(options, case, its_end))
        self.process.start()
        its_end.close()

    def run(self, steps: int) -> None:
        self.connection.send(steps)
        try:
            self.connection.recv()
        except EOFError:
            raise UserError("the classic loop failed, see above") from None

    def close(self) -> None:
        self.connection.close()
        self.process.join()


def serve_classic(options: Namespace, case: Case, connection: Connection) -> None:
    """A process: runs as many steps as it is told to, again and again."""
    if options.threads:
        torch.set_num_threads(options.threads)
    device, data = select_device(options.device), load_data(options)
    teacher, student = (
        new_network(name, data.spec, seed=seed).to(device)
        for seed, name in enumerate(case.pair.split("/"))
    )
    picks = case.mode == "cutmix_pick"
    pool = {"n_run": PICK_RUNS} if picks else {}
    loop = ClassicLoop(
        freeze(teacher),
        student,
        mix_modes[case.mode](data.spec, MixSettings(), **pool),
        torch.Generator().manual_seed(0),
        pick_count=options.batch_size if picks else None,
    )
    assert isinstance(data.train, ImageSet)  # no case of the benchmark streams
    stream = endless(classic_batches(data.train, data.spec, options.batch_size))
    with (
        contextlib.suppress(EOFError),
        torch.backends.cudnn.flags(enabled=True, benchmark=True),
    ):  # as CRD's scripts
        while True:
            for _ in range(connection.recv()):
                images, labels = (part.to(device) for part in next(stream))
                if case.job == "stddev":
                    loop.measure_step(images)
                else:
                    loop.train_step(images, labels)
            synchronize(device)
            connection.send("done")
