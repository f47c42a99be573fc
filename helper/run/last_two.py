"""The last two checkpoints of a run, so that a damaged file costs one epoch and not the run.

    weights/ckpt.pth  weights/ckpt.previous.pth

A checkpoint is a zip archive, as PyTorch writes it, and the CRC of each member tells whether it is
damaged; `read_checkpoint` looks at them. One more member, which PyTorch passes over, holds the
lengths of the run's logs at that moment.
"""

import contextlib
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helper.run.atomic import flush_folder, written_beside
from helper.run.checkpoint import serialized
from helper.run.read import read_checkpoint

LATEST, PREVIOUS, DAMAGED = "ckpt.pth", "ckpt.previous.pth", "ckpt.damaged.pth"
LENGTHS = "log_lengths.json"
OLD_SUMS = "checksums.json"
"""Where runs of version 0.1 have the lengths, beside the SHA-256 of each file."""


def save_latest(weights: Path, checkpoint: dict[str, Any], lengths: Mapping[str, int]) -> None:
    """Make `checkpoint` the latest in the folder `weights`.

    The one that was the latest becomes the previous one.

    lengths: bytes of each log. Whenever the process dies, one of the two files is whole.
    """
    latest, buffer = weights / LATEST, io.BytesIO(serialized(checkpoint))
    with zipfile.ZipFile(buffer, "a") as archive:
        folder = archive.namelist()[0].split("/")[0]
        member = zipfile.ZipInfo(
            f"{folder}/{LENGTHS}"
        )  # without the time, so that equal states are equal files
        archive.writestr(member, json.dumps(lengths))
    with written_beside(latest, buffer.getbuffer()) as fresh:
        if latest.exists():
            os.replace(latest, weights / PREVIOUS)
        os.replace(fresh, latest)
        flush_folder(weights)


def read_with_lengths(flag: str, path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """(the checkpoint at `path`, the lengths of the logs then, empty where none are noted).

    UserError if it is damaged.
    """
    checkpoint, noted = read_checkpoint(flag, path), None
    with (
        contextlib.suppress(
            zipfile.BadZipFile, OSError, ValueError, AttributeError, TypeError, KeyError
        ),
        zipfile.ZipFile(path) as archive,
    ):
        names = [name for name in archive.namelist() if name.endswith(f"/{LENGTHS}")]
        noted = json.loads(archive.read(names[0])) if names else old_lengths(path)
    entries = noted.items() if isinstance(noted, dict) else ()
    return checkpoint, {name: n for name, n in entries if isinstance(n, int) and n >= 0}


def old_lengths(path: Path) -> Any:
    """The lengths that checksums.json has for the content of `path`, under whichever name."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entries = json.loads((path.parent / OLD_SUMS).read_text())
    return next((e["note"] for e in entries.values() if e["sha256"] == digest), {})


def candidates(path: Path) -> list[Path]:
    """The files to resume from, best first: behind a latest checkpoint stands its previous one."""
    previous = path.with_name(PREVIOUS)
    return [path, previous] if path.name == LATEST and previous.exists() else [path]


def newest_in(weights: Path) -> Path | None:
    """The latest checkpoint; the previous one if that is gone; None if there is neither."""
    return next((weights / name for name in (LATEST, PREVIOUS) if (weights / name).is_file()), None)


def fall_back(weights: Path) -> None:
    """The previous checkpoint takes the place of a damaged latest one, which is kept beside it."""
    with contextlib.suppress(FileNotFoundError):
        os.replace(weights / LATEST, weights / DAMAGED)
    os.replace(weights / PREVIOUS, weights / LATEST)
