"""Fill a network from a checkpoint, whatever the layout of the file; or say what does not fit."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dataset.imagenet_classes import rows_of_imagenet
from helper.errors import UserError
from helper.run.recognize import (
    COUNTER,
    Layout,
    classifier_of,
    differences,
    fits,
    fitting_models,
    layout_of,
    renamings,
)
from helper.run.weights import Part, Weights, parts
from models.external import Offers


def load_weights(
    model: nn.Module,
    name: str,
    checkpoint: dict[str, Any],
    *,
    flag: str,
    path: str | Path,
    allow_head: bool = False,
    average: bool = False,
    class_ids: Sequence[str] = (),
    starts: bool = False,
) -> list[str]:
    """Fill the model from a checkpoint; every name and shape must fit.

    UserError names those that do not.

    `average`: take the running average of the weights (EMA), not the weights beside it.
    `class_ids`: the data set's classes by wnid, as far as they have one; the classifier of a
    network for ImageNet's 1,000 classes is reduced to them. `starts`: training goes on from the
    weights, so a classifier of other classes may stay the model's own, and a library's network
    adapts weights of another image size. Returns lines for log.txt: which weights were taken where
    there is a choice, whose names they had, and what was left out.
    """
    if "head" in checkpoint and not allow_head:
        raise UserError(
            f"{flag} {path} is a student whose classifier a method replaced (simkd); it can be"
            " resumed, but not used without that method"
        )
    found = _parts_asked_for(checkpoint, f"{flag} {path}", average=average)
    wanted = model.state_dict()
    layout = layout_of(wanted)
    fitting = _fitting(model, found, layout, starts=starts)
    if not fitting:
        weights = found[0].weights
        names = fitting_models(weights)
        advice = f"it fits {', '.join(names)}" if names else "it fits no model of the zoo"
        raise UserError(f"{flag} {path} is not a {name}: {differences(weights, layout)}; {advice}")
    part, repository, weights = fitting[0]
    notes = _notes(part, [other for other, *_ in fitting[1:]], repository, f"{flag} {path}")
    weights, told = _of_classes(
        weights, wanted, layout, f"{flag} {path}", class_ids=class_ids, starts=starts
    )
    complete = _complete(weights, wanted)
    check_values(complete, wanted, flag, path)
    model.load_state_dict(complete)
    return notes + told


def _parts_asked_for(checkpoint: dict[str, Any], source: str, *, average: bool) -> list[Part]:
    """The checkpoint's networks, or their running averages. UserError if it has none."""
    found = parts(checkpoint)
    if average:
        found = [part for part in found if part.is_average]
        if not found:
            raise UserError(f"--ema: {source} holds no running average of the weights")
    if not found:
        raise UserError(f"{source} holds no weights")
    return found


def _complete(weights: Weights, wanted: Weights) -> Weights:
    """All names of `wanted`; counters that are absent or are no whole numbers become 0."""
    complete = {key: weights.get(key, torch.tensor(0)) for key in wanted}
    for key, value in complete.items():
        is_odd = value.is_floating_point() or value.shape != wanted[key].shape
        if key.endswith(COUNTER) and is_odd:  # converted along with the weights, or damaged
            complete[key] = torch.tensor(0)
    return complete


def _of_classes(
    weights: Weights,
    wanted: Weights,
    layout: Layout,
    source: str,
    *,
    class_ids: Sequence[str],
    starts: bool,
) -> tuple[Weights, list[str]]:
    """The weights with a classifier of as many classes as `wanted` has, and what is to be told of
    it."""
    notes = []
    classifier = classifier_of(layout)
    there, here = (len(each[classifier[-1]]) for each in (weights, wanted))
    rows = rows_of_imagenet(class_ids) if there == 1000 else []
    if rows and len(rows) == here < there:
        weights = weights | {key: weights[key][rows] for key in classifier}
        notes.append(f"{here} of the {there} classes in {source} are taken, by wnid")
        there = here
    if there != here and not starts:
        unknown = [each for each in class_ids if not rows_of_imagenet([each])]
        why = f", and {unknown[0]} is no class of ImageNet" if there == 1000 and unknown else ""
        raise UserError(
            f"{source} has {there} classes, the data set has {here}{why}: give a network of these"
            " classes. All but its classifier is a start for training: train_teacher.py"
            " --pretrained FILE, or --model_s_pretrained FILE"
        )
    if there != here:
        weights = weights | {key: wanted[key] for key in classifier}
        notes.append(
            f"the classifier of {source}, of {there} classes, is left out: a new one of {here} is"
            " trained"
        )
    return weights, notes


def _as_wanted(part: Part, layout: Layout) -> tuple[Part, str, Weights] | None:
    """(the part, whose names it has, weights under the zoo's names); None if it does not fit."""
    for repository, weights in renamings(part.weights):
        if fits(weights, layout):
            return part, repository, weights
    return None


def _fitting(
    model: nn.Module, found: list[Part], layout: Layout, *, starts: bool
) -> list[tuple[Part, str, Weights]]:
    """`_as_wanted` of the parts that fit; where none does, of parts adapted to the image size."""
    fitting = [each for part in found if (each := _as_wanted(part, layout))]
    if not fitting and starts and isinstance(model, Offers):
        adapted = [replace(part, weights=model.adapted(part.weights)) for part in found]
        fitting = [each for part in adapted if (each := _as_wanted(part, layout))]
    return fitting


def _notes(part: Part, others: list[Part], repository: str, file: str) -> list[str]:
    lines = []
    averages = [other.place for other in others if other.is_average]
    rest = [other.place or "its top level" for other in others if not other.is_average]
    here = part.place or "its top level"
    if part.is_average:
        lines.append(f"the weights are a running average, {here} of {file}")
    elif averages:
        lines.append(
            f"the weights are {here} of {file}; it also holds a running average,"
            f" {', '.join(averages)}: --ema takes that"
        )
    if rest:
        lines.append(f"the weights are {here} of {file}; it also holds {', '.join(rest)}")
    known = {each.place.rpartition(".")[2] for each in others}
    beside = [key for key in part.beside if key.partition(".")[0] not in known]
    if beside:
        shown = ", ".join(beside[:3]) + (", ..." if len(beside) > 3 else "")
        lines.append(f"left out of {file}: {len(beside)} tensors beside the network ({shown})")
    if repository:
        lines.append(f"the names of the weights are those of {repository}")
    return lines


def check_values(weights: Weights, wanted: Weights, flag: str, path: str | Path) -> None:
    """UserError unless each tensor is of the wanted kind, dense, and all its numbers are finite."""
    for key, value in weights.items():
        is_float = wanted[key].is_floating_point()
        if (
            value.layout != torch.strided
            or value.is_meta
            or value.is_floating_point() != is_float
            or value.is_complex()
        ):
            raise UserError(
                f"{flag} {path}: {key} is a tensor of {value.dtype}, {value.layout}, not of weights"
            )
        if not value.float().isfinite().all():  # as the network will have it
            raise UserError(f"{flag} {path} is damaged: {key} holds values that are not finite")
