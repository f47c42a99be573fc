"""The last two checkpoints of a run, so that a damaged file costs one epoch and not the run.

    weights/ckpt.pth  weights/ckpt.previous.pth  weights/checksums.json

checksums.json holds the SHA-256 of both and a note beside each. It is written ahead of the file that it vouches
for: whenever the process dies, at least one of the two is whole, and known to be.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from helper.errors import UserError
from helper.run.checkpoint import (
    flush_folder,
    read_checkpoint,
    serialized,
    write_atomically,
    written_beside,
)

LATEST, PREVIOUS, DAMAGED, SUMS = (
    "ckpt.pth",
    "ckpt.previous.pth",
    "ckpt.damaged.pth",
    "checksums.json",
)


def save_latest(weights: Path, checkpoint: dict[str, Any], note: Any) -> None:
    """Make `checkpoint` the latest in the folder `weights`; what was the latest becomes the previous one.

    `note`: a plain value that belongs to it, but does not count as its content.
    """
    latest, content, before = weights / LATEST, serialized(checkpoint), recorded(weights)
    with written_beside(latest, content) as fresh:
        entries = {LATEST: {"sha256": hashlib.sha256(content).hexdigest(), "note": note}}
        if latest.exists() and LATEST in before:
            entries[PREVIOUS] = before[LATEST]
        write_atomically(weights / SUMS, (json.dumps(entries, indent=1) + "\n").encode())
        if latest.exists():
            os.replace(latest, weights / PREVIOUS)
        os.replace(fresh, latest)
        flush_folder(weights)


def recorded(weights: Path) -> dict[str, dict[str, Any]]:
    """What checksums.json says of each file; empty where there is none, or a damaged one."""
    try:
        entries = json.loads((weights / SUMS).read_text())
        return {
            name: {"sha256": entry["sha256"], "note": entry["note"]}
            for name, entry in entries.items()
        }
    except (FileNotFoundError, ValueError, AttributeError, KeyError, TypeError):
        return {}


def read_verified(flag: str, path: Path) -> tuple[dict[str, Any], Any]:
    """(the checkpoint at `path`, its note). UserError if it is damaged; checksums tell, where its folder has them.

    Either of the two sums will do: a process that died between two renames leaves a whole file under the other name.
    """
    entries = recorded(path.parent) if path.name in (LATEST, PREVIOUS) and path.is_file() else {}
    if not entries:
        return read_checkpoint(flag, path), None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for entry in entries.values():
        if entry["sha256"] == digest:
            return read_checkpoint(flag, path), entry["note"]
    raise UserError(f"{flag} {path} is damaged: its SHA-256 is not in {SUMS}")


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
