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
    """A model's name, and why it is taken for that: words that follow "because"."""

    name: str
    why: str
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
    shapes, agree = layout_of(weights), _agreeing(weights, layout)
    return len(agree) == len(shapes) == len(layout)


def _agreeing(weights: Weights, layout: Layout) -> set[str]:
    """The names whose shapes agree, the classifier's but for the number of classes."""
    classifier = classifier_of(layout)

    def agree(name: str, shape: tuple[int, ...]) -> bool:
        free = name in classifier
        there = tuple(weights[name].shape)
        return len(there) == len(shape) and there[free:] == shape[free:]

    return {name for name, shape in layout.items() if name in weights and agree(name, shape)}


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


def differences(weights: Weights, layout: Layout) -> str:
    """The names and shapes that differ, in words: a few of each kind."""
    there = layout_of(weights).keys()
    problems = (
        ("keys missing", layout.keys() - there),
        ("unknown keys", there - layout.keys()),
        ("shapes differ", (layout.keys() & there) - _agreeing(weights, layout)),
    )
    return "; ".join(
        f"{len(names)} {word} ({', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''})"
        for word, names in problems
        if names
    )


def nearest_model(weights: Weights) -> tuple[str, str]:
    """(the zoo's model with which most names and shapes agree, what differs); empty if few do."""
    best, answer = 0.5, ("", "")
    for name in model_dict:
        layout = _zoo_layout(name)
        for _, renamed in renamings(weights):
            share = len(_agreeing(renamed, layout)) / max(len(layout_of(renamed)), len(layout))
            if share > best:
                best, answer = share, (name, differences(renamed, layout))
    return answer


def fitting_part(found: list[Part]) -> tuple[Part | None, list[str]]:
    """The first part that fits a model, and the models that it fits."""
    for part in found:
        if names := fitting_models(part.weights):
            return part, names
    return None, []


def recognize(flag: str, path: str | Path, checkpoint: dict[str, Any]) -> Recognized:
    """The model of a checkpoint: named in the file, else by its folder, else by its weights.

    A name that the weights do not fit is passed over where they fit another model; but a folder
    MODEL_vanilla has to hold that model. UserError if nothing tells the model, with the models that
    fit or the nearest one.
    """
    found, claims = parts(checkpoint), _claims(path, checkpoint)
    for claim in claims:
        is_own = "num_classes" in checkpoint or claim.name not in tuple(model_dict)
        if is_own or any(_is(claim.name, part.weights) for part in found):
            return claim
    give = f"{flag} {path}", "--model" if flag == "FILE" else "--model_t"
    names = _told_apart(fitting_part(found)[1], path)
    if len(names) == 1:
        why = "its weights' names and shapes fit no other model"
        if claims and "_vanilla" in claims[0].why:
            raise UserError(
                f"{give[0]} is a {names[0]}, and {claims[0].why}: give {give[1]} {names[0]}, or"
                " another file"
            )
        return Recognized(names[0], why + (f", though {claims[0].why}" if claims else ""), True)
    if claims and not names:
        return claims[0]  # what does not fit is told when it is loaded
    raise UserError(f"cannot tell the model in {give[0]}: {_why_unknown(found, names, give[1])}")


def _claims(path: str | Path, checkpoint: dict[str, Any]) -> list[Recognized]:
    """The models that the file and its folder name."""
    folder = Path(path).absolute().parent.name
    says, name = checkpoint.get("arch"), folder.split("_vanilla")[0]
    claims = [Recognized(says, f"the file says {says}")] if isinstance(says, str) else []
    claims.append(Recognized(name, f"its folder is called {folder}"))
    return [claim for claim in claims if claim.name in model_dict]


def _is(name: str, weights: Weights) -> bool:
    return any(fits(renamed, _zoo_layout(name)) for _, renamed in renamings(weights))


def _told_apart(names: list[str], path: str | Path) -> list[str]:
    """`names`, or the only one of them that the names of the file and its folder mention."""
    path = Path(path).absolute()
    words = re.split(r"[^A-Za-z0-9]+", f"{path.parent.name} {path.name}")
    mentioned = [name for name in names if name in words or name in path.name]
    return mentioned if len(mentioned) == 1 else names


def _why_unknown(found: list[Part], names: list[str], model_flag: str) -> str:
    if names:
        return f"it fits {', '.join(names)}; give {model_flag}"
    unfit = "no weights"
    if found:
        unfit = f"it fits no model of the zoo ({describe(found[0].weights)})"
        name, unlike = nearest_model(found[0].weights)
        if name:
            return f"{unfit}; the nearest is {name}: {unlike}"
    return (
        f"{unfit}. Its folder should be called MODEL_vanilla, or give {model_flag}. Models:"
        f" {', '.join(model_dict)}"
    )


def model_name_of(flag: str, path: str | Path, checkpoint: dict[str, Any]) -> str:
    return recognize(flag, path, checkpoint).name


def describe(weights: Weights) -> str:
    """The first weights' names and shapes, to recognise a network by."""
    shown = [f"{name} {tuple(value.shape)}" for name, value in list(weights.items())[:3]]
    return f"{len(weights)} weights: {', '.join(shown)}{', ...' if len(weights) > 3 else ''}"
