#!/usr/bin/env python3
"""The share of 95 % intervals that hold the truth, on synthetic data of known T. stddev.

    python scripts/rank/coverage.py --seeds 200

Classes are correlated, images differ in how sure the teacher is, and with `--policies` each batch
draws one of several policies, as an augmentation with one draw a batch does. Prints, for each
number of steps, how many of the
intervals hold the truth: T. stddev, its paired difference to identity, balance, information,
consistency.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from helper.step.intervals import Interval
from helper.step.view_stats import ViewStatistics, difference, step_sums

SHOWN = ("t_stddev", "consistency", "balance", "information")
BATCH = 64


class SyntheticTeacher:
    """A pool of images: the teacher's probabilities of each, and of its views under each policy."""

    def __init__(self, num_classes: int, policies: int, images: int = 20_000) -> None:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        labels = torch.randint(num_classes, (images,), generator=generator)
        directions = 1.2 * normal(8, num_classes)  # what makes classes alike
        logits = 5 * torch.eye(num_classes, dtype=torch.float64)[labels]
        logits = logits + normal(images, 8) @ directions
        self.clean = logits.softmax(dim=1)
        self.views = [
            (0.7 * logits + 0.7 * normal(num_classes)).softmax(dim=1) for _ in range(policies)
        ]

    def steps(self, count: int, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yields p(x), p(x') of a batch."""
        for _ in range(count):
            rows = torch.randint(len(self.clean), (BATCH,), generator=generator)
            policy = int(torch.randint(len(self.views), (), generator=generator))
            yield self.clean[rows], self.views[policy][rows]

    def measured(self, counts: Sequence[int], seed: int) -> Iterator[dict[str, ViewStatistics]]:
        """A scheme and identity on the same steps; yields after each of `counts` steps."""
        generator = torch.Generator().manual_seed(seed)
        found = {name: ViewStatistics(self.clean.shape[1]) for name in ("view", "identity")}
        for done, (clean, view) in enumerate(self.steps(counts[-1], generator), 1):
            found["view"].add(step_sums(clean, view, clean))
            found["identity"].add(step_sums(clean, clean, clean))
            if done in counts:
                yield found


Values = dict[str, Interval]


def values_of(found: dict[str, ViewStatistics]) -> Values:
    values = {name: found["view"].measure(name) for name in SHOWN}
    return values | {"difference": difference(found["view"], found["identity"])}


def coverage(
    teacher: SyntheticTeacher, counts: Sequence[int], *, seeds: int, truth_steps: int
) -> dict[int, dict[str, float]]:
    """Steps, ascending -> the share of intervals that hold the truth, a measurement of
    `truth_steps` steps."""
    truth = next(values_of(found) for found in teacher.measured([truth_steps], seed=2**31))
    held = {count: dict.fromkeys(truth, 0) for count in counts}
    for seed in range(seeds):
        for count, found in zip(counts, teacher.measured(counts, seed)):
            for name, (_, low, high) in values_of(found).items():
                held[count][name] += low <= truth[name].value <= high
    return {c: {name: n / seeds for name, n in of.items()} for c, of in held.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 16, 40])
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--policies", type=int, default=8)
    parser.add_argument("--truth_steps", type=int, default=30_000)
    options = parser.parse_args()
    teacher = SyntheticTeacher(options.classes, options.policies)
    found = coverage(
        teacher, sorted(options.steps), seeds=options.seeds, truth_steps=options.truth_steps
    )
    for steps, held in found.items():
        shown = "  ".join(f"{name} {100 * share:.1f} %" for name, share in held.items())
        print(f"{steps:4d} steps, {options.seeds} seeds: {shown}", flush=True)


if __name__ == "__main__":
    main()
