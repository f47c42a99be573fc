"""The accuracy that a checkpoint records, under any of the usual names and scales."""

import re
from typing import Any

NAMES = (
    "accuracy", "acc", "acc1", "accat1", "prec1", "top1", "top1acc",
    "testacc", "testacc1", "testaccuracy", "testtop1",
    "valacc", "valacc1", "valaccuracy", "validacc", "evalacc", "precision1",
    "bestacc", "bestacc1", "bestaccuracy",
    "besttestacc", "bestvalacc", "bestprec1", "besttop1", "bestmetric", "metric",
)  # fmt: skip
"""In small letters, without other signs. The ones of the saved epoch come before the best of the
run."""
PLACES = ("metrics", "results", "test", "val", "stats", "info")
"""Dicts in which a file may have it."""


def recorded_accuracy(checkpoint: dict[str, Any]) -> float | None:
    """Top-1 in percent; None if the checkpoint has none.

    A value below 1 is a share (0.7261), as many repositories write it; in a checkpoint of this
    project (one with "arch") every value is in percent.
    """
    is_percent = "arch" in checkpoint
    places = [checkpoint, *(checkpoint[name] for name in PLACES if name in checkpoint)]
    for place in places:
        if not isinstance(place, dict):
            continue
        values = {_plain(key): value for key, value in place.items() if isinstance(key, str)}
        for name in NAMES:
            value = _number(values.get(name))
            if value is not None and 0 < value <= 100:
                return value if is_percent or value >= 1 else 100 * value
    return None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("@", "at"))


def _number(value: Any) -> float | None:
    try:
        return float(value.rstrip("% ")) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
