"""Statistics of a second view, from the teacher's probabilities: T. stddev, and three measures of
signal.

T. stddev (H. Wang et al., NeurIPS 2022, arXiv 2012.02909) falls when views agree more, and also
when they say nothing. So three more measures stand beside it, none of which needs a label. With x
the image, x' its view, p the teacher's probabilities, and m those of the images that x' is made of,
mixed by their shares:

    consistency  R  = sum_k Cov(p_k(x'), m_k) / sqrt(sum_k Var p_k(x') * sum_k Var m_k)
                                                     1 for identity
    balance      B  = H(mean p(x')) / H(mean p(x))   below 1: the answers fell onto a few classes
    information  MI = H(mean p(x')) - mean H(p(x'))  nats that an answer carries about the view

All are functions of sums over the rows of a pass, so that memory is constant however long the pass
is, and the jackknife has their intervals from the sums of its steps.
"""

import math
from typing import Any
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from helper.step.intervals import Interval, ScaleName, c4, jackknife
from helper.step.teacher_stats import GROUP_STEPS, TeacherStddev

MOST_BLOCKS = 128
"""Beyond as many, two neighbours become one. Even."""


class Sums:
    """Names for the parts of `values` (..., 5 K + 10): the sums over the rows of one step, or of
    many."""

    VECTORS = ("clean", "view", "mixed", "squares", "clean_squares")
    NUMBERS = ("steps", "rows", "clean_rows", "view_mixed", "view_view", "mixed_mixed", "entropies",
               "clean_entropies", "hits", "images")  # fmt: skip

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values
        self.num_classes = (values.shape[-1] - len(self.NUMBERS)) // len(self.VECTORS)

    @classmethod
    def width(cls, num_classes: int) -> int:
        return num_classes * len(cls.VECTORS) + len(cls.NUMBERS)

    def __getattr__(self, name: str) -> torch.Tensor:
        """A vector (..., K) or a number (...)."""
        if name in self.VECTORS:
            start = self.VECTORS.index(name) * self.num_classes
            return self.values[..., start : start + self.num_classes]
        if name not in self.NUMBERS:
            raise AttributeError(name)
        return self.values[..., self.NUMBERS.index(name) - len(self.NUMBERS)]


def step_sums(
    clean: torch.Tensor,
    view: torch.Tensor,
    mixed: torch.Tensor,
    hits: torch.Tensor | None = None,
) -> torch.Tensor:
    """One step's sums: probabilities (B, K) of the images, (P, K) of the views, (P, K) mixed as
    these are.

    hits: (P,), the share of a view's images that are of the class that the teacher says.
    """
    clean, view, mixed = clean.double(), view.double(), mixed.double()
    of_clean, of_view = clean.sum(dim=0), view.sum(dim=0)  # (K,)
    both = (of_clean + of_view).square() / (len(clean) + len(view))  # rows x (the step's mean)^2
    counts = (1, len(view), len(clean))
    numbers = torch.stack([
        *(view.new_full((), count) for count in counts),  # a tensor of all would wait for a GPU
        (view * mixed).sum(), view.square().sum(), mixed.square().sum(),
        torch.special.entr(view).sum(), torch.special.entr(clean).sum(),
        (view.new_zeros(()) if hits is None else hits.double().sum()),
        view.new_full((), 0 if hits is None else len(view)),
    ])  # fmt: skip
    return torch.cat([of_clean, of_view, mixed.sum(dim=0), both,
                      of_clean.square() / len(clean), numbers])  # fmt: skip


def t_stddev(sums: torch.Tensor) -> torch.Tensor:
    """T. stddev from the means of single steps: (..., 5 K + 10) -> (...). NaN below two steps.

    A group of five steps varies as one step does, divided by five; so mean_k sd(step's mean p_k) /
    sqrt(5) / c4(steps) estimates what the published groups do, with five times as many draws. Steps
    count by their rows, as in a group.
    """
    s = Sums(sums)
    return _stddev(s.clean + s.view, s.squares, s.clean_rows + s.rows, s.steps)


def clean_t_stddev(sums: torch.Tensor) -> torch.Tensor:
    """T. stddev of identity on the same steps."""
    s = Sums(sums)
    return _stddev(s.clean, s.clean_squares, s.clean_rows, s.steps)


def _stddev(
    rows_sum: torch.Tensor, squares: torch.Tensor, rows: torch.Tensor, steps: torch.Tensor
) -> torch.Tensor:
    squared = squares - rows_sum.square() / rows[..., None]  # (..., K)
    of_a_row = squared.clamp(min=0) / (steps - 1)[..., None]
    of_a_group = of_a_row / (GROUP_STEPS * rows / steps)[..., None]
    return of_a_group.sqrt().mean(dim=-1) / c4(steps)


def t_share(sums: torch.Tensor) -> torch.Tensor:
    """T. stddev as a share of identity's on the same steps."""
    return t_stddev(sums) / clean_t_stddev(sums)


def consistency(sums: torch.Tensor) -> torch.Tensor:
    """R; 0 where p(x') or m is constant. -1..1."""
    s = Sums(sums)
    covariance = s.view_mixed - (s.view * s.mixed).sum(dim=-1) / s.rows
    of_view = s.view_view - s.view.square().sum(dim=-1) / s.rows
    of_mixed = s.mixed_mixed - s.mixed.square().sum(dim=-1) / s.rows
    varies = (of_view > TINY * s.view_view) & (of_mixed > TINY * s.mixed_mixed)
    scale = torch.where(varies, of_view * of_mixed, torch.ones_like(of_view)).sqrt()
    return torch.where(varies, covariance / scale, torch.zeros_like(scale))


TINY = 1e-12
"""A variance below this share of the mean square is rounding."""


def entropy_of_mean(rows_sum: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """In nats: (..., K), (...,) -> (...)."""
    return torch.special.entr(rows_sum / rows[..., None]).sum(dim=-1)


def balance(sums: torch.Tensor) -> torch.Tensor:
    """B; 0 or above, 1 for identity.

    1 too where the teacher gives one class to everything, x included.
    """
    s = Sums(sums)
    of_clean = entropy_of_mean(s.clean, s.clean_rows)
    return torch.where(of_clean > 0, entropy_of_mean(s.view, s.rows) / of_clean, 1.0)


def information(sums: torch.Tensor) -> torch.Tensor:
    """MI of x', in nats."""
    s = Sums(sums)
    return entropy_of_mean(s.view, s.rows) - s.entropies / s.rows


def information_share(sums: torch.Tensor) -> torch.Tensor:
    """MI of x' as a share of that of x on the same steps; 0 where x has none."""
    s = Sums(sums)
    of_clean = entropy_of_mean(s.clean, s.clean_rows) - s.clean_entropies / s.clean_rows
    return torch.where(of_clean > TINY, information(sums) / of_clean, 0.0)


def teacher_top1(sums: torch.Tensor) -> torch.Tensor:
    """Percent of x' whose class the teacher says, by shares. NaN where no labels were given."""
    s = Sums(sums)
    return 100 * s.hits / s.images


MEASURES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "t_stddev": t_stddev,
    "t_share": t_share,
    "consistency": consistency,
    "balance": balance,
    "information": information,
    "information_share": information_share,
    "teacher_top1": teacher_top1,
}
SCALE_OF: Mapping[str, ScaleName] = {
    "t_stddev": "log",
    "t_share": "log",
    "information": "log",
    "consistency": "fisher",
}
"""Scales of the intervals that are not plain."""


class ViewStatistics:
    """Everything about one scheme's views, step by step, in constant memory:
    `MOST_BLOCKS` x (5 K + 10) numbers.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.published = TeacherStddev(num_classes, device)
        """T. stddev as `train_student.py` measures it, by groups of five steps."""
        self.steps, self.block_steps = 0, 1
        shape = (MOST_BLOCKS, Sums.width(num_classes))
        self._sums = torch.zeros(shape, dtype=torch.float64, device=device)

    def update(
        self,
        clean: torch.Tensor,
        view: torch.Tensor,
        mixed: torch.Tensor | None = None,
        *,
        hits: torch.Tensor | None = None,
    ) -> None:
        """Take in one step: p(x) (B, K), p(x') (P, K), and m (P, K) unless x' has one image each,
        in order: then p(x).

        hits: (P,), where there are labels: the share of a view's images that are of the class that
        the teacher says.
        """
        self.published.update(clean, view)
        self.add(step_sums(clean, view, clean if mixed is None else mixed, hits))

    def add(self, sums: torch.Tensor) -> None:
        """One step's sums (5 K + 10,), without the published groups."""
        if self.steps == MOST_BLOCKS * self.block_steps:
            half = MOST_BLOCKS // 2
            self._sums[:half] = self._sums[0::2] + self._sums[1::2]
            self._sums[half:] = 0
            self.block_steps *= 2
        self._sums[self.steps // self.block_steps] += sums
        self.steps += 1

    def blocks(self, steps: int | None = None, block_steps: int = 1) -> torch.Tensor:
        """(n, 5 K + 10) on the CPU, `block_steps` steps or more to a block.

        All steps, the last block having what is left over; or the whole blocks of the first
        `steps`.
        """
        size = max(block_steps, self.block_steps)
        count = -(-self.steps // size) if steps is None else steps // size
        each = size // self.block_steps
        merged = self._sums[: count * each].cpu()
        merged = F.pad(merged, (0, 0, 0, count * each - len(merged)))
        return merged.view(count, each, merged.shape[1]).sum(dim=1)  # (n, each, W) -> (n, W)

    def measure(self, name: str, confidence: float = 0.95) -> Interval:
        """One of `MEASURES`, over all whole blocks, with its interval."""
        scale = SCALE_OF.get(name, "plain")
        return jackknife(MEASURES[name], self.blocks(), confidence, scale=scale)

    def is_finite(self) -> bool:
        """Whether all of the teacher's logits were finite."""
        return math.isfinite(float(self._sums.sum()))

    def state_dict(self) -> dict[str, Any]:
        """To go on later, bit for bit."""
        return {
            "published": self.published.state_dict(),
            "steps": self.steps,
            "block_steps": self.block_steps,
            "sums": self._sums[: -(-self.steps // self.block_steps)].clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.published.load_state_dict(state["published"])
        self.steps, self.block_steps = state["steps"], state["block_steps"]
        self._sums.zero_()
        self._sums[: len(state["sums"])] = state["sums"]


def difference(
    first: ViewStatistics,
    second: ViewStatistics,
    confidence: float = 0.95,
    measure: str = "t_stddev",
) -> Interval:
    """`measure` of the first less that of the second, on the steps that both saw, paired by step.

    On the same batches most of the error is common: identity less flip has a twelfth of it.
    """
    size = max(first.block_steps, second.block_steps)
    steps = None if first.steps == second.steps else min(first.steps, second.steps)
    pairs = torch.stack([s.blocks(steps, size) for s in (first, second)], dim=1)  # (n, 2, W)
    of = MEASURES[measure]

    def differ(sums: torch.Tensor) -> torch.Tensor:
        parts = sums.view(*sums.shape[:-1], 2, -1)  # (..., 2, W)
        values = of(parts)
        return values[..., 0] - values[..., 1]

    return jackknife(differ, pairs.flatten(1), confidence)
