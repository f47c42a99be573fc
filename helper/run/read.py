"""Read a checkpoint file as data: nothing in it is executed. PyTorch's formats, and safetensors."""

import argparse
import json
import os
import pickle
import re
import shlex
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helper.errors import UserError
from helper.run.file_kind import is_safetensors, kind_of

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
"""Types in public checkpoints beside tensors, numbers and text: options, and values from
NumPy. Plain values, whose reading calls nothing else."""

CONVERT = (
    "import torch; c = torch.load({source!r}, map_location='cpu', weights_only=False); c = c if"
    " isinstance(c, dict) else {{'model': c}}; c = {{k: v.state_dict() if hasattr(v, 'state_dict')"
    " else v for k, v in c.items()}}; plain = lambda v: isinstance(v, (torch.Tensor, int, float,"
    " str)); torch.save({{k: v for k, v in c.items() if plain(v) or isinstance(v, dict) and"
    " all(map(plain, v.values()))}}, {target!r})"
)
"""A program that keeps the weights, numbers and words of a checkpoint, and leaves other objects
out."""

RUNS_THINGS = re.compile(
    r"(os|posix|nt|subprocess|commands|sys|shutil|importlib|runpy|socket|ctypes|pty|code|webbrowser"
    r"|torch\.hub|torch\.serialization)\."
    r"|((__builtin__|builtins)\.)?(eval|exec|compile|open|getattr|setattr|__import__)$"
)
"""Objects that no checkpoint needs, and with which a file runs what it likes when it is read."""

NEXT = {
    "--path_t": ": `sh scripts/set_up_pretrained_models.sh` fetches the public teachers, "
    "`python train_teacher.py --model NAME` trains one"
}
"""Flag -> the command to type if its file is absent."""


def read_checkpoint(flag: str, path: str | Path) -> dict[str, Any]:
    """The dict in a checkpoint file, on the CPU.

    UserError naming `flag` if it is absent, damaged or no data.

    A safetensors file is a dict of its tensors.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise UserError(f"{flag} {path} is a folder, not a checkpoint{_files_in(path)}")
    try:
        checkpoint = _read_safetensors(path) if is_safetensors(path) else _read_pytorch(path)
    except pickle.UnpicklingError as error:
        raise UserError(f"{flag} {path} {_why_not_data(path, str(error))}") from None
    except FileNotFoundError:
        raise UserError(f"{flag} {path} does not exist{NEXT.get(flag, '')}") from None
    except PermissionError as error:
        raise UserError(f"{flag} {path}: {error.strerror}") from None
    except Exception as error:  # a damaged zip or pickle can raise nearly anything
        reason = next(filter(None, str(error).splitlines()), "")
        kind = kind_of(path) if path.is_file() else ""
        problem = f"is {kind}" if kind else "is damaged or no PyTorch file"
        detail = "" if kind else f" ({type(error).__name__}{': ' * bool(reason)}{reason[:200]})"
        raise UserError(f"{flag} {path} {problem}{detail}") from None
    if isinstance(checkpoint, list | tuple) and any(isinstance(one, dict) for one in checkpoint):
        return {str(place): one for place, one in enumerate(checkpoint)}
    if not isinstance(checkpoint, dict):
        raise UserError(f"{flag} {path} holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def _read_pytorch(path: Path) -> Any:
    if zipfile.is_zipfile(path):  # PyTorch does not look at the checksums in it
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
    with warnings.catch_warnings(), torch.serialization.safe_globals(HARMLESS):
        warnings.simplefilter("ignore")  # of an unusual dialect of pickle
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> dict[str, Any]:
    """Its tensors, and its metadata, all words, in a dict of their own."""
    from safetensors.torch import load  # here, since most runs do without it

    content = path.read_bytes()
    tensors = load(content)  # it has checked the header
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = header.get("__metadata__", {})
    named = {"arch": metadata["arch"]} if "arch" in metadata else {}
    return {"metadata": metadata, **named, **tensors}


def _files_in(folder: Path) -> str:
    """The checkpoints in a folder that was given in the place of one, in words."""
    found = [
        str(path)
        for depth in ("*", "*/*")
        for path in sorted(folder.glob(depth))
        if path.name.endswith((".pth", ".pt", ".ckpt", ".safetensors", ".pth.tar", ".bin"))
    ]
    shown = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    return f"; it holds {shown}" if found else ""


def _why_not_data(path: Path, message: str) -> str:
    """Words that follow "FILE": which object it holds beside weights, or its kind of file."""
    if kind := kind_of(path):
        return f"is {kind}"
    # "Unsupported global: GLOBAL pathlib.PosixPath was not an allowed global by default."
    # "Trying to load unsupported GLOBAL posix.system whose module posix is blocked."
    named = re.search(r"(?:GLOBAL|class|global) ([\w.]+) (?:was|which|is|whose)", message)
    if not named:
        return "is damaged, or holds objects other than weights; such a file is never executed"
    holds = f"holds objects other than weights: {named[1]}. Such a file is never executed here."
    if "blocked" in message or RUNS_THINGS.match(named[1]):
        return (
            f"{holds} No checkpoint needs that, and with it a file can run anything: do not load it"
        )
    target = path.with_name(f"{path.stem}.weights.pth")
    program = CONVERT.format(source=str(path), target=str(target))
    return (
        f"{holds} If you trust who made it, this, run where its classes can be imported, writes its"
        f" weights to {target}: python -c {shlex.quote(program)}"
    )
