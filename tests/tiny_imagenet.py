"""Changes to the folder of the fixture `folder`, for the tests of Tiny ImageNet."""

import numpy as np
from fake_images import replace, wnid

from dataset import DataRequest, datasets


def load(folder, **changes):
    return datasets["tinyimagenet"].load(DataRequest(root=folder.parent, **changes))


def caches(folder):
    return sorted(path.name for path in (folder.parent / "cache").iterdir() if path.is_dir())


def as_batch_npy(folder, labels=int, pixels=lambda image: image):
    """The original system's layout beside the public one, with other labels, so that it shows which
    was read."""
    for split, count in (("train", 6), ("val", 4)):
        pairs = np.empty((count, 2), dtype=object)
        for row in range(count):
            pairs[row, 0] = pixels(np.full((64, 64, 3), 10 * row, dtype=np.uint8))
            pairs[row, 1] = labels(199 - row)
        np.save(folder / split / "batch.npy", pairs, allow_pickle=True)


def annotations(folder, change):
    path = folder / "val" / "val_annotations.txt"
    replace(path, change(path.read_text()).encode())


def image_path(folder, label=5, number=1):
    return folder / "train" / wnid(label) / "images" / f"{wnid(label)}_{number}.JPEG"
