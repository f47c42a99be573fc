"""The last two checkpoints of a run, so that a damaged file costs one epoch and not the run.

    weights/ckpt.pth  weights/ckpt.previous.pth  weights/SHA256SUMS

SHA256SUMS is what `sha256sum -c` reads. It is written ahead of the file that it vouches for: whenever the process
dies, at least one of the two is whole, and known to be.
"""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from helper.checkpoint import flush_folder, read_checkpoint, serialized, write_atomically, written_beside
from helper.errors import UserError

LATEST, PREVIOUS, DAMAGED, SUMS = "ckpt.pth", "ckpt.previous.pth", "ckpt.damaged.pth", "SHA256SUMS"


def save_latest(weights: Path, checkpoint: dict[str, Any]) -> None:
    """Make `checkpoint` the latest in the folder `weights`; what was the latest becomes the previous one."""
    latest, content, before = weights / LATEST, serialized(checkpoint), recorded_sums(weights)
    with written_beside(latest, content) as fresh:
        lines = f"{hashlib.sha256(content).hexdigest()}  {LATEST}\n"
        if latest.exists() and LATEST in before:
            lines += f"{before[LATEST]}  {PREVIOUS}\n"
        write_atomically(weights / SUMS, lines.encode())
        if latest.exists():
            os.replace(latest, weights / PREVIOUS)
        os.replace(fresh, latest)
        flush_folder(weights)


def recorded_sums(weights: Path) -> dict[str, str]:
    """What SHA256SUMS says, by file name; empty where there is none."""
    try:
        lines = (weights / SUMS).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    return {name.strip(): digest for digest, _, name in (line.partition("  ") for line in lines)}


def read_verified(flag: str, path: Path) -> dict[str, Any]:
    """The checkpoint at `path`. UserError if it is damaged, which the checksums tell where its folder has them.

    Either of the two sums will do: a process that died between two renames leaves a whole file under the other name.
    """
    sums = recorded_sums(path.parent) if path.name in (LATEST, PREVIOUS) else {}
    if sums and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() not in sums.values():
        raise UserError(f"{flag} {path} is damaged: its SHA-256 is not in {SUMS}")
    return read_checkpoint(flag, path)


def candidates(path: Path) -> list[Path]:
    """The files to resume from, best first: behind a latest checkpoint stands its previous one."""
    previous = path.with_name(PREVIOUS)
    return [path, previous] if path.name == LATEST and previous.exists() else [path]


def newest_in(weights: Path) -> Path | None:
    """The latest checkpoint, or where it is gone the previous one; None if the folder has neither."""
    return next((weights / name for name in (LATEST, PREVIOUS) if (weights / name).is_file()), None)


def fall_back(weights: Path) -> None:
    """The previous checkpoint takes the place of a damaged latest one, which is kept beside it."""
    with contextlib.suppress(FileNotFoundError):
        os.replace(weights / LATEST, weights / DAMAGED)
    os.replace(weights / PREVIOUS, weights / LATEST)
