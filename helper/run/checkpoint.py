"""Checkpoint files: written whole or not at all, read as data only (`weights_only=True`).

Public layout: a dict with "model" (the state_dict) and usually "epoch", "accuracy", "optimizer". Ours add what
the network is ("arch", "num_classes", "img_size", "dataset"), so that any of them can serve as a teacher.
"""

import argparse
import datetime
import io
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from helper.errors import UserError
from helper.run.atomic import write_atomically
from models import model_dict

_SCALAR, _RECONSTRUCT = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
HARMLESS = [
    argparse.Namespace,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.ndarray,
    (_RECONSTRUCT, "numpy.core.multiarray._reconstruct"),
    (_RECONSTRUCT, "numpy._core.multiarray._reconstruct"),
    *{type(np.dtype(letter)) for letter in "?bBhHiIlLqQefdU"},
]
"""What public checkpoints hold beside tensors, numbers and text: their options, and values from NumPy. Plain values,
whose reading calls nothing else."""


def save_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write the file whole or not at all: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, serialized(checkpoint))


def serialized(checkpoint: dict[str, Any]) -> memoryview:
    """The bytes of a checkpoint file. Made in memory: PyTorch reports a full disk as an internal error of its own."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getbuffer()


def read_checkpoint(flag: str, path: str | Path) -> dict[str, Any]:
    """The dict in a checkpoint file, on the CPU. UserError naming `flag` if it is absent, damaged or no data."""
    path = Path(path)
    if os.path.isdir(path):
        raise UserError(f"{flag} {path} is a folder, not a checkpoint")
    try:
        if zipfile.is_zipfile(path):  # PyTorch does not look at the checksums in it
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        with torch.serialization.safe_globals(HARMLESS):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{flag} {path} is damaged, or holds objects other than weights; such a file is never executed, "
            "save its state_dict instead"
        ) from None
    except FileNotFoundError:
        raise UserError(f"{flag} {path} does not exist") from None
    except PermissionError as error:
        raise UserError(f"{flag} {path}: {error.strerror}") from None
    except Exception as error:  # a damaged zip or pickle can raise nearly anything
        reason = next(filter(None, str(error).splitlines()), "")
        raise UserError(
            f"{flag} {path} is damaged or no PyTorch file ({type(error).__name__}: {reason})"
        ) from None
    if not isinstance(checkpoint, dict):
        raise UserError(f"{flag} {path} holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def weights_in(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The state_dict of a checkpoint in any public layout, without DataParallel's "module." prefixes.

    Empty if there is none.
    """
    for key in ("model", "state_dict", "net"):
        if isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
            break
    return {
        re.sub(r"^(module\.)+", "", key): value
        for key, value in checkpoint.items()
        if isinstance(key, str) and torch.is_tensor(value)
    }


def model_name_of(flag: str, path: str | Path, checkpoint: dict[str, Any]) -> str:
    """Which zoo model a checkpoint is: what it says itself, else its folder's name before "_vanilla"."""
    if checkpoint.get("arch") in tuple(model_dict):
        name = checkpoint["arch"]
    else:
        name = Path(path).absolute().parent.name.split("_vanilla")[0]
    if name not in model_dict:
        raise UserError(
            f"cannot tell the model in {flag} {path}: its folder should be called MODEL_vanilla, or give --model_t. "
            f"Models: {', '.join(model_dict)}"
        )
    return name


def load_weights(
    model: nn.Module,
    name: str,
    checkpoint: dict[str, Any],
    *,
    flag: str,
    path: str | Path,
    allow_head: bool = False,
) -> None:
    """Fill the model from a checkpoint; every key and shape must fit. UserError says what does not."""
    weights, wanted = weights_in(checkpoint), model.state_dict()
    if "head" in checkpoint and not allow_head:
        raise UserError(
            f"{flag} {path} is a student whose classifier a method replaced (simkd); it can be resumed, but not used "
            "without that method"
        )
    if not weights:
        raise UserError(f"{flag} {path} holds no weights")
    for key in wanted:
        if key.endswith(
            ".num_batches_tracked"
        ):  # PyTorch before 0.4.1 had none, and nothing here reads it
            weights.setdefault(key, torch.tensor(0))
    differing = [
        key for key in wanted if key in weights and weights[key].shape != wanted[key].shape
    ]
    missing, extra = wanted.keys() - weights.keys(), weights.keys() - wanted.keys()
    if not (differing or missing or extra):
        check_values(weights, wanted, flag, path)
        model.load_state_dict(weights)
        return
    classifier = list(wanted)[-1]  # the last entry is the classifier's bias: (K,)
    if classifier in differing and weights[classifier].ndim == 1 and not (missing or extra):
        classes = (len(weights[classifier]), len(wanted[classifier]))
        raise UserError(f"{flag} {path} has {classes[0]} classes, the data set has {classes[1]}")
    problems = [
        f"{len(keys)} {word} ({', '.join(sorted(keys)[:3])}{', ...' if len(keys) > 3 else ''})"
        for word, keys in (
            ("keys missing", missing),
            ("unknown keys", extra),
            ("shapes differ", differing),
        )
        if keys
    ]
    fits = fitting_models(weights)
    advice = f"it fits {', '.join(fits)}" if fits else "it fits no model of the zoo"
    raise UserError(f"{flag} {path} is not a {name}: {'; '.join(problems)}; {advice}")


def check_values(
    weights: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], flag: str, path: str | Path
) -> None:
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
        if not value.isfinite().all():
            raise UserError(f"{flag} {path} is damaged: {key} holds values that are not finite")


def fitting_models(weights: dict[str, torch.Tensor]) -> list[str]:
    """The zoo's models whose keys and shapes, the classifier's number of classes apart, are those of `weights`."""
    shapes = {
        key: tuple(value.shape)
        for key, value in weights.items()
        if not key.endswith(".num_batches_tracked")
    }
    names = []
    for name in model_dict:
        with torch.device("meta"):
            layout = {
                key: tuple(value.shape)
                for key, value in model_dict[name]().state_dict().items()
                if not key.endswith(".num_batches_tracked")
            }
        classifier = list(layout)[-2:]  # its weight (K, C) and bias (K,) come last
        if layout.keys() == shapes.keys() and all(
            shapes[key][key in classifier :] == layout[key][key in classifier :] for key in layout
        ):
            names.append(name)
    return names


def describe_model(
    name: str, num_classes: int, img_size: int, dataset: str, class_names: Sequence[str] = ()
) -> dict[str, Any]:
    """What a checkpoint says of its network. `class_names`: where they are not those of a public data set."""
    facts = {"arch": name, "num_classes": num_classes, "img_size": img_size, "dataset": dataset}
    return facts | ({"class_names": list(class_names)} if class_names else {})


def check_class_names(
    checkpoint: dict[str, Any], class_names: Sequence[str], *, flag: str, path: str | Path
) -> None:
    """UserError if a checkpoint names its classes, and they or their order are not `class_names`, of the data set."""
    there, here = list(checkpoint.get("class_names", ())), list(class_names)
    if not there or not here or there == here:
        return
    if set(there) == set(here):
        advice = "name them in its order in classes.txt in --data_root, a line each"
    else:
        advice = "give the folder that it was trained on, or train one on this: train_teacher.py --dataset folder"
    place = next(
        (k for k, (a, b) in enumerate(zip(there, here)) if a != b), min(len(there), len(here))
    )
    which = " and ".join(
        f"{where} {repr(names[place]) if place < len(names) else 'no such'}"
        for where, names in (("there", there), ("here", here))
    )
    raise UserError(
        f"{flag} {path} has {len(there)} classes, --data_root {len(here)}; class {place} is {which}: {advice}"
    )


def save_keeping_old(path: Path, checkpoint: dict[str, Any]) -> Path | None:
    """Write a checkpoint; a copy of what was at `path` before, if it was another, stays. Returns the copy's name."""
    kept, content = None, serialized(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_bytes() != content:
        moment = datetime.datetime.fromtimestamp(path.stat().st_mtime)
        kept = path.with_name(f"{path.stem}.from-{moment:%Y%m%d-%H%M%S-%f}{path.suffix}")
        shutil.copy2(path, kept)
    write_atomically(path, content)
    return kept
