"""A tiny CIFAR-100 in the layout and the pickle dialect of the public files."""

import io
import pickle
import struct
from typing import ClassVar

import numpy as np


class _Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 strings (the BINSTRING opcode), protocol 2."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, text):
        self.write(b"T" + struct.pack("<i", len(text)) + text)
        self.memoize(text)

    dispatch[bytes] = save_bytes


OLD_NAME, NEW_NAME = b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n"


def write_pickle(path, entry, module=OLD_NAME):
    """`entry` as Python 2 wrote it; `module` is what it calls NumPy's array module."""
    buffer = io.BytesIO()
    _Python2Pickler(buffer, protocol=2).dump(entry)
    content = buffer.getvalue()
    assert (OLD_NAME in content) + (NEW_NAME in content) <= 1
    path.write_bytes(content.replace(NEW_NAME, module).replace(OLD_NAME, module))


def make_entry(count, seed=0):
    """(what a split's file holds, images (N, 32, 32, 3), labels)."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = generator.permutation(100)[:count].tolist()
    entry = {
        b"filenames": [
            b"caf\xe9_%d.png" % row for row in range(count)
        ],  # not ASCII, so latin-1 is needed
        b"batch_label": b"training batch 1 of 1",
        b"fine_labels": labels,
        b"coarse_labels": [label // 5 for label in labels],
        b"data": np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(count, 3072),
    }
    return entry, images, labels


def write_cifar(root, train=40, test=20):
    """Both splits below `root`; returns {split: (images, labels)}."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    content = {}
    for split, count, seed in (("train", train, 1), ("test", test, 2)):
        entry, images, labels = make_entry(count, seed)
        write_pickle(folder / split, entry)
        content[split] = images, labels
    write_pickle(folder / "meta", {b"fine_label_names": [b"class_%d" % k for k in range(100)]})
    return content
