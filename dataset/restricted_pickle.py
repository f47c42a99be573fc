"""Read the pickles of the public CIFAR files as data: nothing in them is ever executed.

Pickle is a small program that may call any function it names. This reader resolves only the handful of
names that a plain NumPy array needs, so a hostile file fails before it can do anything.
"""

import pickle
from pathlib import Path
from typing import Any

from helper.errors import UserError

# The public files are from 2009 and use NumPy's old module name; NumPy 2 writes the new one.
_ARRAY_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # how protocol 2 spells a bytes object
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not a NumPy array")
        return super().find_class(module, name)


def load_arrays(path: Path) -> dict[str, Any]:
    """The dict pickled in `path`: strings, numbers, lists and NumPy arrays only.

    Python 2 strings come back as latin-1 text. Raises UserError if the file is damaged or holds more.
    """
    try:
        with open(path, "rb") as file:
            entry = _ArrayUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{path} is damaged or not a plain data file: {error}") from None
    if not isinstance(entry, dict):
        raise UserError(f"{path} is damaged: it holds a {type(entry).__name__}, not a dict")
    return entry
