"""Read the pickles of public data files as data: nothing in them is ever executed.

Pickle is a small program that may call any function it names. This reader resolves only the handful
of names that a plain NumPy array needs, so a hostile file fails before it can do anything.
"""

import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from helper.errors import UserError

_ARRAY_NAMES = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # how protocol 2 spells a bytes object
    # The public files are from 2009 and use NumPy's old module name, core; NumPy 2 writes the new
    # one.
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),  # protocol 5
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not a NumPy array")
        return super().find_class(module, name)


def load_arrays(path: Path) -> dict[str, Any]:
    """The dict pickled in `path`: strings, numbers, lists and NumPy arrays only.

    Its keys are text. Other strings of Python 2 come back as bytes, and so does the content of
    arrays: as text it would be copied three times. Raises UserError if the file is damaged or holds
    anything else.
    """
    with _one_line_errors(path), open(path, "rb") as file:
        entry = _ArrayUnpickler(file, encoding="bytes").load()
    if not isinstance(entry, dict):
        raise UserError(f"{path} is damaged: it holds a {type(entry).__name__}, not a dict")
    return {
        key.decode("latin1") if isinstance(key, bytes) else key: value
        for key, value in entry.items()
    }


def load_object_array(path: Path) -> np.ndarray:
    """The array of Python objects in the .npy file `path`.

    The objects are strings, numbers, lists and NumPy arrays only. Raises UserError if the file is
    damaged or holds anything else.
    """
    with _one_line_errors(path), open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        _, _, dtype = read_header(file)
        array = _ArrayUnpickler(file).load() if dtype.hasobject else None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path} is damaged: it holds no array of objects")
    return array


@contextlib.contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{path} is damaged or not a plain data file: {error}") from None
