"""The accuracy that a checkpoint records, under any of the usual names and scales."""

import re
from collections.abc import Iterator
from typing import Any

NAME = re.compile(
    r"(best|max|test|val|valid|validation|eval|final|last|current|student|model"
    r"|top|at|1|acc|accuracy|prec|precision|metric|err|error)+"
)
"""The words of a name, in small letters without other signs: "best_acc@1" is "bestaccat1"."""
MEASURE = re.compile(r"acc|prec(?!ision)|precision(at)?1|top1|metric|err")
PLACES = ("metrics", "results", "test", "val", "eval", "best", "stats", "info", "metadata")
"""Dicts in which a file may have it."""
DEEPEST = 2


def recorded_accuracy(checkpoint: dict[str, Any]) -> float | None:
    """Top-1 in percent; None if the checkpoint has none.

    A value below 1 is a share (0.7261), as many repositories write it; in a checkpoint of this
    project every value is in percent. An error rate is taken from 100. The saved epoch's value goes
    before the best one of the run, that of the test images before others.
    """
    is_percent = {"arch", "num_classes"} <= checkpoint.keys()  # of this project
    accuracy = checkpoint.get("accuracy")
    if is_percent and isinstance(accuracy, int | float) and accuracy == 0:
        return 0.0  # elsewhere it is what a best value begins with
    found = sorted(_measures(checkpoint), key=lambda one: _rank(one[0]))
    if not found:
        return None
    name, value = found[0]
    percent = value if is_percent or value >= 1 else 100 * value
    return 100 - percent if "err" in name else percent


def _measures(
    entry: dict[Any, Any], place: str = "", depth: int = 0
) -> Iterator[tuple[str, float]]:
    for key, value in entry.items():
        word = re.sub(r"[^a-z0-9]", "", str(key).lower().replace("@", "at"))
        if isinstance(value, dict):
            if word in PLACES and depth < DEEPEST:
                inner = place + word if NAME.fullmatch(word) else place
                yield from _measures(value, inner, depth + 1)
            continue
        name, number = place + word, _number(value)
        if NAME.fullmatch(name) and MEASURE.search(name) and number is not None:
            yield name, number


def _rank(name: str) -> tuple[bool, int, bool]:
    is_of_others = "val" in name or "eval" in name
    return "best" in name or "max" in name, is_of_others - ("test" in name), "err" in name


def _number(value: Any) -> float | None:
    """A number above 0 and up to 100."""
    try:
        number = float(value.rstrip("% ")) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return number if 0 < number <= 100 else None
