"""The kind of a file, from its first bytes: for one that should be a checkpoint and is none."""

import re
import zipfile
from pathlib import Path

BEGINNINGS = (
    (rb"version https://git-lfs",
     "a Git LFS pointer, not the file itself: run `git lfs pull` where it is from"),
    (rb"/?(\.\./)*\.?git/annex/|/annex/objects/",
     "a git-annex pointer, not the file itself: run `git annex get`"),
    (rb"(?i)\s*(<!doctype html|<html|<head|<script|<body|<!--|<br|<p>|<div)",
     "an HTML page, not a checkpoint: the download needs a login or a click, "
     "or the address is wrong"),
    (rb"(?i)\s*<\?xml|\s*<error", "an XML text, not a checkpoint: the download was refused"),
    (rb"\x1f\x8b", "a gzip archive, not a checkpoint: unpack it first"),
    (rb"BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd|\x1f\x9d|\x04\x22\x4d\x18",
     "a compressed archive, not a checkpoint: unpack it first"),
    (rb"\x89HDF", "an HDF5 file, as Keras writes it, not a checkpoint of PyTorch"),
    (rb"\x93NUMPY", "a NumPy array, not a checkpoint of PyTorch"),
    (rb"MATLAB", "a file of MATLAB, not a checkpoint of PyTorch"),
    (rb"PAR1", "a Parquet table, not a checkpoint"),
    (rb"SQLite", "a database, not a checkpoint"),
    (rb"\xff\xfe|\xfe\xff", "a text in UTF-16, not a checkpoint"),
    (rb"GGUF|ggml|lmgg", "a GGML file, not a checkpoint of PyTorch"),
    (rb"....TFL3", "a TensorFlow Lite model, not a checkpoint of PyTorch"),
    (rb"\x08[\x00-\x0f]\x12.{0,40}(pytorch|onnx|tf2onnx|keras)",
     "an ONNX model, not a checkpoint of PyTorch"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF|BM.{4}\x00{4}", "an image, not a checkpoint"),
    (rb"%PDF", "a PDF document, not a checkpoint"),
    (rb"\x7fELF|\xca\xfe\xba\xbe|MZ|#!", "a program, not a checkpoint"),
    (rb"\x80[\x02-\x05](?!\x8a\nl\xfc\x9cF\xf9)",
     "a pickle of Python, not a file that torch.save wrote; it is never executed"),
    (rb"\x00{512}", "nothing but zeros at its beginning: the download or the copy broke off"),
)  # fmt: skip
"""(a pattern of the first bytes, what to say of such a file)."""


def kind_of(path: Path) -> str:
    """The kind in words that follow "FILE is"; empty where the bytes do not tell.

    Raises OSError if it cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(1024)
    if not start:
        return "empty"
    start = start.removeprefix(b"\xef\xbb\xbf")  # a byte order mark
    for pattern, words in BEGINNINGS:
        if re.match(pattern, start, re.DOTALL):
            return words
    if start[257:262] == b"ustar":
        return "a tar archive, not a checkpoint: unpack it first"
    if start.startswith(b"PK"):
        return _kind_of_zip(path)
    return _kind_of_text(start)


def is_safetensors(path: Path) -> bool:
    """True if the file begins as safetensors does: the header's length, then a JSON object."""
    with open(path, "rb") as file:
        start = file.read(16)
    if len(start) < 10 or not re.match(rb"\{\s*[\"}]", start[8:]):
        return False
    return int.from_bytes(start[:8], "little") <= path.stat().st_size


def _kind_of_zip(path: Path) -> str:
    """PyTorch's own files are zip archives that hold a data.pkl."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "incomplete: its end is missing, so the download or the copy broke off"
    except Exception:  # a damaged archive can raise nearly anything
        return ""
    last = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in last:
        return (
            "a TorchScript program, not a checkpoint: torch.jit.load it where it is from, and save "
            "its state_dict"
        )
    if "data.pkl" in last:
        return ""
    if "model.weights.h5" in last:
        return "a model of Keras, not a checkpoint of PyTorch"
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays (npz), not a checkpoint of PyTorch"
    inner = [name for name in names if name.endswith((".pth", ".pt", ".safetensors", ".tar"))]
    which = f" ({', '.join(inner[:3])}{', ...' if len(inner) > 3 else ''})" if inner else ""
    return f"a zip archive{which}, not a checkpoint: unpack it first"


def _kind_of_text(start: bytes) -> str:
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:  # not the last character, cut in two
            return ""
        text = start[: error.start].decode("utf-8")
    if any(ord(letter) < 9 or 13 < ord(letter) < 32 for letter in text):
        return ""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(first) < 4:
        return ""
    return f"a text, not a checkpoint; it begins {first[:60]!r}"
