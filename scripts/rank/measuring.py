"""One pass for all schemes: the teacher sees a batch once, and each scheme's view of it once."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from augment import Augmented, PoolLogits
from dataset.streamed import AnyBatches
from helper.loop.state import Batch, RunState
from helper.loop.training import batches_left
from helper.setup.machine import make_generators
from helper.step.passes import logits_of
from helper.step.ranking import Ranking
from scripts.rank.schemes import Scheme


@dataclass(frozen=True)
class Networks:
    """The frozen side. `student`: only where a scheme picks by one."""

    teacher: nn.Module
    student: nn.Module | None = None
    amp: bool = False


@dataclass
class Costs:
    """Seconds and images of each pool: making the views, and the networks' forwards."""

    seconds: dict[str, float] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)

    def add(self, pool: str, seconds: float, images: int) -> None:
        self.seconds[pool] = self.seconds.get(pool, 0.0) + seconds
        self.images[pool] = self.images.get(pool, 0) + images

    def per_image(self, pool: str) -> float:
        """Milliseconds for each image of a batch; NaN where none was seen."""
        images = self.images.get(pool, 0)
        return 1000 * self.seconds[pool] / images if images else float("nan")

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": dict(self.seconds), "images": dict(self.images)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds, self.images = dict(state["seconds"]), dict(state["images"])


def generators_of(schemes: Iterable[Scheme], seed: int, stage: int) -> dict[str, torch.Generator]:
    """A generator for each pool, all in the same state.

    In stage 0 that of a `train_student.py` pass with this seed, so that the draws are those of the
    pass.
    """
    if stage:
        seed = int(np.random.SeedSequence((seed, stage)).generate_state(1)[0])
    return {scheme.pool: make_generators(seed)["views"] for scheme in schemes}


class Viewing:
    """Shows batches and their views to the networks, and tells a ranking their outputs."""

    def __init__(
        self,
        networks: Networks,
        schemes: Sequence[Scheme],
        generators: dict[str, torch.Generator],
        costs: Costs,
    ) -> None:
        self.networks, self.generators, self.costs = networks, generators, costs
        self.pools: dict[str, list[Scheme]] = {}
        """Schemes by the pool that they share: picks from the same views, by different criteria."""
        for scheme in schemes:
            self.pools.setdefault(scheme.pool, []).append(scheme)
        self.epoch = 0

    def start_epoch(self, epoch: int) -> None:
        """Told before each step; epochs are counted from 1."""
        if epoch != self.epoch:
            self.epoch = epoch
            for schemes in self.pools.values():
                schemes[0].augmentation.start_epoch(epoch)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor, labels: torch.Tensor, ranking: Ranking) -> None:
        """images: (B, 3, H, W), labels: (B,).
        Every scheme that `ranking` still measures is updated.
        """
        clean = logits_of(self.networks.teacher, images, amp=self.networks.amp)
        probabilities = clean.softmax(dim=1)
        for pool, schemes in self.pools.items():
            live = [scheme for scheme in schemes if scheme.name in ranking.live]
            if not live:
                continue
            start = time.perf_counter()
            view = schemes[0].augmentation(images, self.generators[pool])
            seen = [self._kept(scheme, images, clean, view) for scheme in live]
            wait_for(images.device)
            self.costs.add(pool, time.perf_counter() - start, len(images))
            for scheme, (kept, logits) in zip(live, seen):
                hits = hits_of(kept, labels, logits)
                mixed = kept.mix(probabilities)
                ranking.update(scheme.name, probabilities, logits.softmax(dim=1), mixed, hits=hits)

    def _kept(
        self, scheme: Scheme, images: torch.Tensor, clean: torch.Tensor, view: Augmented
    ) -> tuple[Augmented, torch.Tensor]:
        """The views that the scheme keeps, and the teacher's logits of them."""
        if scheme.pick is None:
            same = view.images is images  # identity
            return view, clean if same else self._logits(scheme.pool, view)
        criterion = scheme.pick.criterion
        student = None
        if criterion.needs_student:
            assert self.networks.student is not None
            student = logits_of(self.networks.student, view.images, amp=self.networks.amp)
        teacher = self._logits(scheme.pool, view)
        keep = scheme.pick(PoolLogits(teacher, student, clean))
        return view.take(keep), teacher[keep]

    def _logits(self, pool: str, view: Augmented) -> torch.Tensor:
        """The teacher's (P, K). Schemes of one pool share them."""
        if self._latest is None or self._latest[0] is not view:
            logits = logits_of(self.networks.teacher, view.images, amp=self.networks.amp)
            self._latest = (view, logits)
        return self._latest[1]

    _latest: tuple[Augmented, torch.Tensor] | None = None


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was told, so that the time is that of its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def hits_of(view: Augmented, labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """(P,): the share of each view's images that are of the class with the largest logit.

    logits: (P, K).
    """
    targets = F.one_hot(labels, logits.shape[1]).to(logits.dtype)  # (B, K)
    return view.mix(targets).gather(1, logits.argmax(dim=1, keepdim=True))[:, 0]


def endless(state: RunState, batches: AnyBatches) -> Iterator[tuple[int, Batch]]:
    """(epoch, counted from 1, batch), for ever, from where `state` stands.

    When a batch is handed out, `state` says that it is still to come: save then, before anything is
    done with it.
    """
    while True:
        for _, batch in batches_left(state, batches):
            yield state.epoch + 1, batch
        state.end_pass()
        state.epoch += 1
