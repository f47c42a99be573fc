"""The weights in a checkpoint of any public layout, and their names there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

PREFERRED = (
    "model", "state_dict", "net", "model_state_dict", "model_state", "network", "weights", "params",
    "module", "student",
)  # fmt: skip
"""Names under which a file has its network, the most usual first. Any other name will do too, after
these."""
NOT_A_NETWORK = re.compile(
    r"optim|sched|scaler|criterion|loss|memory|generator|random|rng|distiller|initial|probe|history",
    re.I,
)
"""Names of what else a training run saves."""
AVERAGE = re.compile(r"(^|[._-])(\w*ema\w*|swa|averaged?|shadow|polyak|momentum)([._-]|$)", re.I)
"""Names of a running average of the weights (EMA, SWA)."""
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
"""Words that torch.compile and others put into names, anywhere in them. DataParallel puts `module`
at the beginning."""
BOOKKEEPING = ("total_ops", "total_params", "n_averaged", "num_updates")
"""Buffers of profilers (thop) and averages, which are no weights."""
DEEPEST, FEWEST = 4, 2
"""How many dicts may lie around the weights; how many tensors make a network."""

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Part:
    """One network's weights in a checkpoint."""

    place: str
    """Where they lie, such as "state_dict" or "state_dict.teacher"; empty: at the top."""
    weights: Weights
    """Without the prefixes that wrappers put before every name."""
    beside: tuple[str, ...] = ()
    """The names of the tensors that lie in the same dict and are not among them."""

    @property
    def is_average(self) -> bool:
        return bool(AVERAGE.search(self.place))


def parts(checkpoint: dict[str, Any]) -> list[Part]:
    """Every network that the checkpoint may hold, the likeliest first; averages after the rest."""
    found = list(_parts_in(checkpoint, "", 0))

    def rank(part: Part) -> tuple[bool, int]:
        if not part.place:
            return False, len(PREFERRED)  # a bare state dict, or what else lies beside a network
        names = part.place.split(".")
        ranks = [PREFERRED.index(n) if n in PREFERRED else len(PREFERRED) + 1 for n in names]
        return part.is_average, max(ranks)

    return sorted(found, key=rank)


def weights_in(checkpoint: dict[str, Any]) -> Weights:
    """The likeliest network's weights; empty if there are none."""
    return next((part.weights for part in parts(checkpoint)), {})


def _parts_in(entry: dict[Any, Any], place: str, depth: int) -> Iterator[Part]:
    entry = {str(k) if isinstance(k, int) else k: v for k, v in entry.items()}
    tensors = {k: v for k, v in entry.items() if isinstance(k, str) and torch.is_tensor(v)}
    cleaned = without_bookkeeping(tensors)
    if len(cleaned) >= FEWEST and any(value.ndim > 1 for value in cleaned.values()):
        if len(cleaned) < len(tensors) and "n_averaged" in tensors:
            place = f"{place}.averaged" if place else "averaged"
        yield from _networks_in(cleaned, place)
    for key, value in entry.items():
        is_place = isinstance(key, str) and not NOT_A_NETWORK.search(key)
        if is_place and isinstance(value, dict) and depth < DEEPEST:
            yield from _parts_in(value, f"{place}.{key}" if place else key, depth + 1)


def _networks_in(weights: Weights, place: str) -> Iterator[Part]:
    """The weights as one network; then, where first words differ, each word's as one."""
    weights, wrapper = without_prefixes(weights)
    if AVERAGE.search(wrapper):
        place = f"{place}.{wrapper}" if place else wrapper
    yield Part(place, weights)
    groups: dict[str, Weights] = {}
    for name, value in weights.items():
        first, dot, _ = name.partition(".")
        if dot and not NOT_A_NETWORK.search(first):
            groups.setdefault(first, {})[name] = value
    if len(groups) < len({name.partition(".")[0] for name in weights}) or len(groups) > 1:
        for first, group in groups.items():
            if len(group) >= 2 * FEWEST:
                inner, _ = without_prefixes(group)
                beside = tuple(name for name in weights if name not in group)
                yield Part(f"{place}.{first}" if place else first, inner, beside)


def without_bookkeeping(weights: Weights) -> Weights:
    return {k: v for k, v in weights.items() if k.rpartition(".")[2] not in BOOKKEEPING}


def without_prefixes(weights: Weights) -> tuple[Weights, str]:
    """The weights without wrappers' words, and without words that all names begin with.

    And those words.

    "module._orig_mod.model.conv1.weight" beside other names of that kind becomes "conv1.weight".
    """
    weights = {_without_wrappers(name): value for name, value in weights.items()}
    common: list[str] = []
    while True:
        firsts = {name.partition(".")[0] for name in weights}
        if len(firsts) != 1 or not all("." in name for name in weights):
            return weights, ".".join(common)
        common += firsts
        weights = {name.partition(".")[2]: value for name, value in weights.items()}


def _without_wrappers(name: str) -> str:
    words = [word for word in name.split(".") if word not in WRAPPERS]
    while len(words) > 1 and words[0] == "module":
        del words[0]
    return ".".join(words)
