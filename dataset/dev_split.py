"""A part of the training set held out to choose the best epoch on, rather than the test set."""

import numpy as np
import torch

from helper.errors import UserError

SEED = 20221128
"""Seed of the draw: the same images for every run, whatever its --seed, so that runs and trials
can be compared."""


def dev_split(labels: torch.Tensor, fraction: float) -> tuple[torch.Tensor, torch.Tensor]:
    """labels (N,) -> (rows to train on, rows held out), both (n,) int64 in ascending order.

    round(fraction * N) rows are held out, drawn at random, from each class its share to within one.
    Raises UserError if that holds out none, or all.
    """
    generator = np.random.default_rng(SEED)
    shares = fraction * np.bincount(labels.numpy())  # (K,)
    counts = np.floor(shares).astype(int)
    rest = round(fraction * len(labels)) - counts.sum()
    random_order = generator.permutation(len(shares))
    largest_rest = random_order[np.argsort((counts - shares)[random_order], kind="stable")]
    counts[largest_rest[:rest]] += 1
    held_out = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(counts):
        held_out[generator.permutation(np.flatnonzero(labels.numpy() == label))[:count]] = True
    if not held_out.any() or held_out.all():
        how_many = "none" if held_out.sum() == 0 else "all"
        raise UserError(
            f"--dev_split {fraction:g} of {len(labels)} training images holds out {how_many} of"
            " them"
        )
    return torch.from_numpy(np.flatnonzero(~held_out)), torch.from_numpy(np.flatnonzero(held_out))
