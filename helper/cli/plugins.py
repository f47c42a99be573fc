"""Plugins: files of the user that register mix modes, criteria, distillers, models, data sets.

    python train_student.py --plugin my_losses.py --distill my_loss ...
    DATA_AUG_KD_PLUGIN=my_losses.py:my_da.py python scripts/sweep.py ...

They are imported before the options are read, so that their names are found like all others.
Several processes of a run import them each. A file is told from another by its SHA-256: a resumed
run must have the same.
"""

import hashlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from augment import Augmentation, mix_modes, pick_criteria
from augment.pick import Criterion
from dataset import datasets
from distiller_zoo import FeatureDistiller, LogitDistiller, distillers
from helper.errors import UserError
from helper.registry import Registry
from models import model_dict

VARIABLE = "DATA_AUG_KD_PLUGIN"
"""The environment variable: files joined by ":" (";" on Windows).

For scripts, which have no --plugin.
"""
FLAG = "--plugin"
PREFIX = "data_aug_kd_plugin_"


class Plugin(NamedTuple):
    """A file that was imported."""

    path: str
    sha256: str


def load_plugins(argv: Sequence[str] = ()) -> list[Plugin]:
    """Import the files that the environment and the words after each --plugin name, each content
    once, in that order.

    UserError if one cannot be read, fails, registers nothing, or registers what is not of its kind.
    """
    named = [(VARIABLE, path) for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]
    named += [(FLAG, path) for path in files_after_flag(argv)]
    plugins = [load(flag, Path(path).expanduser()) for flag, path in named]
    return list({plugin.sha256: plugin for plugin in plugins}.values())


def files_after_flag(argv: Sequence[str]) -> list[str]:
    """The words after each --plugin; the flag's short forms are not known here."""
    files = []
    for place, word in enumerate(argv):
        flag, equals, value = word.partition("=")
        if flag != FLAG:
            continue
        if not equals and place + 1 == len(argv):
            raise UserError(f"{FLAG} names no file")
        files.append(value if equals else argv[place + 1])
    return files


def load(flag: str, path: Path) -> Plugin:
    """Import one file, unless it was before."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{flag} {path}: {error.strerror}") from None
    plugin = Plugin(str(path.resolve()), hashlib.sha256(content).hexdigest())
    if PREFIX + plugin.sha256 in sys.modules:
        return plugin
    before = {kind: set(registry) for kind, (registry, _) in KINDS.items()}
    module = ModuleType(PREFIX + plugin.sha256, f"The plugin {path}.")
    module.__file__ = plugin.path
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        execute(module, content, flag, path)
        check_registered(before, flag, path)
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return plugin


def execute(module: ModuleType, content: bytes, flag: str, path: Path) -> None:
    """UserError with the line of the file that failed."""
    try:
        exec(compile(content, str(path), "exec"), vars(module))
    except KeyboardInterrupt:
        raise
    except SyntaxError as error:
        where = f" line {error.lineno}" if error.lineno else ""
        raise UserError(f"{flag} {path}{where}: {error.msg}") from None
    except BaseException as error:  # whatever it raises; sys.exit too
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == module.__file__]
        where = f" line {lines[-1]}" if lines else ""
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(f"{flag} {path}{where}: {type(error).__name__}: {reason}") from None


def check_registered(before: dict[str, set[str]], flag: str, path: Path) -> None:
    """UserError unless the file registered something, and each thing is of its kind."""
    found = False
    for kind, (registry, fault_of) in KINDS.items():
        for name in registry:
            if name in before[kind]:
                continue
            found = True
            if not isinstance(name, str) or not name or set(name) & set(" /,:=") or name[0] == "-":
                raise UserError(
                    f"{flag} {path}: {name!r} cannot be the name of a {kind}: no blank, /, comma, :"
                    " or ="
                )
            if fault := fault_of(registry[name]):
                raise UserError(f"{flag} {path}: the {kind} {name!r} {fault}")
    if not found:
        raise UserError(f"{flag} {path} registers nothing: neither a {' nor a '.join(KINDS)}")


def fault_of_stage(entry: Any) -> str:
    is_stage = inspect.isclass(entry) and issubclass(entry, Augmentation)
    return "" if is_stage else "is no subclass of augment.Augmentation"


def fault_of_criterion(entry: Any) -> str:
    fits = isinstance(entry, Criterion) and callable(entry.score)
    return "" if fits else "is no augment.pick.Criterion(score, needs_teacher, needs_student)"


def fault_of_distiller(entry: Any) -> str:
    kinds = (LogitDistiller, FeatureDistiller)
    is_distiller = inspect.isclass(entry) and issubclass(entry, kinds)
    return "" if is_distiller else "is no subclass of LogitDistiller or FeatureDistiller"


def fault_of_model(entry: Any) -> str:
    try:
        inspect.signature(entry).bind(num_classes=10, img_size=32)
    except (TypeError, ValueError):
        return "cannot be called with num_classes= and img_size="
    return ""


def fault_of_data_set(entry: Any) -> str:
    lacks = [name for name in ("spec", "load") if not callable(getattr(entry, name, None))]
    return f"has no {' and no '.join(lacks)}" if lacks else ""


KINDS: dict[str, tuple[Registry, Callable[[Any], str]]] = {
    "mix mode": (mix_modes, fault_of_stage),
    "pick criterion": (pick_criteria, fault_of_criterion),
    "distiller": (distillers, fault_of_distiller),
    "model": (model_dict, fault_of_model),
    "data set": (datasets, fault_of_data_set),
}
"""Kind of entry -> its registry, and a function that names the fault of an entry, or gives ""."""
