"""Accuracy, loss and calibration of a network over a split."""

from collections.abc import Iterator

import torch
from torch import nn

from dataset.streamed import AnyBatches
from helper.loop.metrics import Evaluation, evaluate

BINS = 15


def calibration_error(
    confidence: torch.Tensor, is_right: torch.Tensor, *, bins: int = BINS
) -> float:
    """Expected calibration error (ECE), 0..1: how far confidence is from accuracy, bin by bin.

    confidence: (N,) the largest probability of each image, 0..1. is_right: (N,) whether that class
    is the label. C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv
    1706.04599, equation 3: bins of equal width, (low, high], weighted by their number of images.
    """
    confidence, is_right = confidence.double(), is_right.double()
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1  # (N,)
    gaps = torch.zeros(bins, dtype=torch.float64, device=confidence.device)
    gaps.index_add_(0, place, is_right - confidence)  # a bin's images times (accuracy - confidence)
    return float(gaps.abs().sum() / len(confidence))


def evaluate_calibration(
    network: nn.Module, batches: AnyBatches, *, amp: bool = False
) -> tuple[Evaluation, float]:
    """(accuracies and loss as `evaluate` has them, ECE 0..1), in one pass of a single process."""
    outputs: list[torch.Tensor] = []
    seen: list[torch.Tensor] = []

    def noted() -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        for images, labels, places in batches:
            seen.append(labels)
            yield images, labels, places

    hook = network.register_forward_hook(lambda _, __, logits: outputs.append(logits.detach()))
    try:
        result = evaluate(network, noted(), amp=amp)
    finally:
        hook.remove()
    confidence, best = torch.cat(outputs).float().softmax(dim=1).max(dim=1)
    return result, calibration_error(confidence, best == torch.cat(seen))
