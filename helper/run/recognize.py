"""The zoo's model for a file's weights: by names and shapes, as they are or by a map of names."""

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from helper.errors import UserError
from helper.run.key_maps import KEY_MAPS
from helper.run.weights import Part, Weights, parts
from models import model_dict

COUNTER = ".num_batches_tracked"
"""PyTorch before 0.4.1 had none, and nothing here reads it."""

Layout = dict[str, tuple[int, ...]]
"""Name of a weight -> its shape."""


class Recognized(NamedTuple):
    """A model's name, and how it was found: words that follow "because"."""

    name: str
    how: str
    is_guess: bool = False
    """Whether neither the file nor its folder says so."""


def layout_of(weights: Weights) -> Layout:
    return {name: tuple(v.shape) for name, v in weights.items() if not name.endswith(COUNTER)}


class _WithoutDraws(TorchFunctionMode):
    """Skips the initial draws: on the meta device they only import PyTorch's compiler."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@functools.cache
def _zoo_layout(name: str) -> Layout:
    with torch.device("meta"), _WithoutDraws():
        return layout_of(model_dict[name]().state_dict())


def classifier_of(layout: Layout) -> list[str]:
    """The names of the last layer's weight (K, C) and bias (K,): they come last."""
    return list(layout)[-2:]


def fits(weights: Weights, layout: Layout) -> bool:
    """True if names and shapes agree; the classifier's number of classes may differ."""
    shapes, classifier = layout_of(weights), classifier_of(layout)

    def agree(name: str) -> bool:
        free = name in classifier
        return len(shapes[name]) == len(layout[name]) and shapes[name][free:] == layout[name][free:]

    return shapes.keys() == layout.keys() and all(map(agree, layout))


def renamings(weights: Weights) -> Iterator[tuple[str, Weights]]:
    """The weights under their own names (""), and under those of each map (its repository)."""
    yield "", weights
    for repository, rows in KEY_MAPS.items():
        renamed = {_renamed(name, rows): value for name, value in weights.items()}
        if len(renamed) == len(weights) and renamed.keys() != weights.keys():
            yield repository, renamed


def _renamed(name: str, rows: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rows:
        new, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            return new
    return name


def fitting_models(weights: Weights) -> list[str]:
    """The zoo's models with the names and shapes of `weights` in some naming.

    The number of classes may differ.
    """
    namings = [renamed for _, renamed in renamings(weights)]
    return [
        name for name in model_dict if any(fits(naming, _zoo_layout(name)) for naming in namings)
    ]


def fitting_part(found: list[Part]) -> tuple[Part | None, list[str]]:
    """The first part that fits a model, and the models that it fits."""
    for part in found:
        if names := fitting_models(part.weights):
            return part, names
    return None, []


def recognize(flag: str, path: str | Path, checkpoint: dict[str, Any]) -> Recognized:
    """The model of a checkpoint: named in the file, else by its folder, else by its weights.

    UserError if nothing tells, with the models that fit.
    """
    says = checkpoint.get("arch")
    if isinstance(says, str) and says in model_dict:
        return Recognized(says, "the file says so")
    folder = Path(path).absolute().parent.name
    name = folder.split("_vanilla")[0]
    if name in model_dict:
        return Recognized(name, f"its folder is called {folder}")
    found = parts(checkpoint)
    _, names = fitting_part(found)
    if len(names) > 1:  # the file's own name may tell them apart
        words = re.split(r"[^A-Za-z0-9]+", f"{folder} {Path(path).name}")
        mentioned = [name for name in names if name in words or name in Path(path).name]
        names = mentioned if len(mentioned) == 1 else names
    if len(names) == 1:
        return Recognized(names[0], "its weights' names and shapes fit no other model", True)
    if names:
        raise UserError(
            f"cannot tell the model in {flag} {path}: it fits {', '.join(names)}; give --model_t"
        )
    what = f"it fits no model of the zoo ({describe(found[0].weights)})" if found else "no weights"
    raise UserError(
        f"cannot tell the model in {flag} {path}: {what}. Its folder should be called"
        f" MODEL_vanilla, or give --model_t. Models: {', '.join(model_dict)}"
    )


def model_name_of(flag: str, path: str | Path, checkpoint: dict[str, Any]) -> str:
    return recognize(flag, path, checkpoint).name


def describe(weights: Weights) -> str:
    """The first weights' names and shapes, to recognise a network by."""
    shown = [f"{name} {tuple(value.shape)}" for name, value in list(weights.items())[:3]]
    return f"{len(weights)} weights: {', '.join(shown)}{', ...' if len(weights) > 3 else ''}"
