"""Write checkpoint files: whole or not at all. read.py and load.py read them.

Public layout: a dict with "model" (the state_dict) and usually "epoch", "accuracy", "optimizer".
A run's own files add what the network is ("arch", "num_classes", "img_size", "dataset"), so that
any of them can serve as a teacher.
"""

import copy
import datetime
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from helper.errors import UserError
from helper.run.atomic import write_atomically


def save_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write the file whole or not at all: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, serialized(checkpoint))


def serialized(checkpoint: dict[str, Any]) -> memoryview:
    """The bytes of a checkpoint file.

    Made in memory: PyTorch reports a full disk as an internal error of its own.
    """
    buffer = io.BytesIO()
    torch.save(on_cpu(checkpoint), buffer)
    return buffer.getbuffer()


def on_cpu(value: Any) -> Any:
    """A copy with every tensor on the CPU: CUDA tensors cannot be loaded without a GPU."""
    if torch.is_tensor(value):
        return value.cpu()
    if isinstance(value, dict):
        moved = copy.copy(value)  # of the same class, with what it carries beside its entries
        moved.update((key, on_cpu(entry)) for key, entry in value.items())
        return moved
    if type(value) in (list, tuple):
        return type(value)(map(on_cpu, value))
    return value


def describe_model(
    name: str, num_classes: int, img_size: int, dataset: str, class_names: Sequence[str] = ()
) -> dict[str, Any]:
    """The facts of a network for its checkpoint.

    `class_names`: where they are not those of a public data set.
    """
    facts = {"arch": name, "num_classes": num_classes, "img_size": img_size, "dataset": dataset}
    return facts | ({"class_names": list(class_names)} if class_names else {})


def check_class_names(
    checkpoint: dict[str, Any], class_names: Sequence[str], *, flag: str, path: str | Path
) -> None:
    """UserError if a checkpoint names other classes than `class_names`, or in another order."""
    there, here = list(checkpoint.get("class_names", ())), list(class_names)
    if not there or not here or there == here:
        return
    if set(there) == set(here):
        advice = "name them in its order in classes.txt in --data_root, a line each"
    else:
        advice = (
            "give the folder that it was trained on, or train one on this: train_teacher.py"
            " --dataset folder"
        )
    place = next(
        (k for k, (a, b) in enumerate(zip(there, here)) if a != b), min(len(there), len(here))
    )
    which = " and ".join(
        f"{repr(names[place]) if place < len(names) else 'absent'} {where}"
        for where, names in (("there", there), ("here", here))
    )
    raise UserError(
        f"{flag} {path} has {len(there)} classes, --data_root {len(here)}; class {place} is"
        f" {which}: {advice}"
    )


def save_keeping_old(path: Path, checkpoint: dict[str, Any]) -> Path | None:
    """Write a checkpoint; a copy of what was at `path` before, if it was another, stays.

    Returns the copy's name.
    """
    kept, content = None, serialized(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_bytes() != content:
        moment = datetime.datetime.fromtimestamp(path.stat().st_mtime)
        kept = path.with_name(f"{path.stem}.from-{moment:%Y%m%d-%H%M%S-%f}{path.suffix}")
        shutil.copy2(path, kept)
    write_atomically(path, content)
    return kept
