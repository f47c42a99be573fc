"""Facts that checkpoints of many programs record beside the weights."""

from typing import Any


def recorded_accuracy(checkpoint: dict[str, Any]) -> float | None:
    """Top-1 in percent as the checkpoint has it ("accuracy", "best_acc"; a share, 0..1, too); None if it has none."""
    for key in ("accuracy", "best_acc"):
        try:
            accuracy = float(checkpoint[key])
        except (KeyError, TypeError, ValueError, RuntimeError):
            continue
        if 0 < accuracy <= 100:
            return accuracy if accuracy > 1 else 100 * accuracy
    return None
