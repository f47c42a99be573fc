"""SVHN, cropped digits: 73,257 + 26,032 images of 32x32 pixels in 10 classes.

Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu, A. Y. Ng, "Reading Digits in Natural Images with
Unsupervised Feature Learning", NIPS workshop on deep learning and unsupervised feature learning,
2011. Read from the public MATLAB files, `<root>/svhn/{train,test}_32x32.mat`; the digit 0, their
class 10, is class 0 here.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from dataset.cache import Decoded, cached, fingerprint
from dataset.download import fetch_files, is_absent, located
from dataset.registry import DataRequest, datasets
from dataset.spec import Dataset, DatasetSpec
from helper.errors import UserError

FOLDER = "svhn"
URL = "https://ufldl.stanford.edu/housenumbers"
SHA256 = {
    "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
}


@datasets.register("svhn")
class Svhn:
    @staticmethod
    def spec(request: DataRequest) -> DatasetSpec:
        """The default DA does not flip: a mirrored digit is no digit, or another one.

        Cutout's side is that of its paper (DeVries and Taylor, 2017, arXiv 1708.04552).
        """
        return DatasetSpec(
            name="svhn",
            num_classes=10,
            img_size=32,
            mean=(0.4377, 0.4438, 0.4728),
            std=(0.1980, 0.2010, 0.1970),
            crop_padding=4,
            cutout_size=20,
            autoaugment_policy="svhn",
            default_da="10",
        )

    @staticmethod
    def load(request: DataRequest) -> Dataset:
        """Both splits, downloaded and unpacked first where that has not been done.

        Raises UserError if a file is absent and cannot be fetched, or is damaged.
        """
        folder = located(request, FOLDER, list(SHA256))
        if is_absent(folder):
            fetch_files(request, folder, url=URL, sha256=SHA256)
        paths = {"train": folder / "train_32x32.mat", "test": folder / "test_32x32.mat"}
        splits = cached(
            request,
            "svhn",
            folder,
            fingerprint(folder, map(str, paths.values())),
            {split: partial(read_matlab, path) for split, path in paths.items()},
        )
        return Dataset(
            spec=Svhn.spec(request),
            train=splits["train"].first(request.limit_train),
            test=splits["test"].first(request.limit_test),
        )


def read_matlab(path: Path) -> Decoded:
    """One file: X (32, 32, 3, N) uint8 and y (N, 1) in 1..10. Raises UserError if it is damaged."""
    from scipy.io import loadmat  # here, since most runs do without it

    try:
        entry = loadmat(path)
        images, labels = entry["X"], entry["y"].ravel()
    except Exception as error:  # a damaged file can raise nearly anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path} is damaged or no MATLAB file of SVHN: {reason}") from None
    if images.dtype != np.uint8 or images.shape != (32, 32, 3, len(labels)) or not len(labels):
        raise UserError(
            f"{path} is damaged: {images.shape} images of {images.dtype} and {len(labels)} labels"
        )
    if labels.min() < 1 or labels.max() > 10:
        raise UserError(f"{path} is damaged: a label lies outside 1..10")
    return Decoded(
        torch.from_numpy(labels.astype(np.int64) % 10), [images.transpose(3, 0, 1, 2)]
    )  # (N, H, W, C)
