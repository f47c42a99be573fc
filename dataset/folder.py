"""`folder`: your own images, in `--data_root`.

`dataset/folder_layout.py` says how they may lie there.

Each image is cut to the largest square in its middle and resized to `--img_size`; images that are
squares of one size need no --img_size and stay as they are. Mean and deviation are measured once,
unless --mean and --std give them. A set of at most MEMORY_LIMIT bytes is decoded once, into the
cache, and held on the device; a larger one is streamed from its files, as ImageNet is. `--images`
says otherwise.
"""

import functools
import os
from functools import partial
from pathlib import Path

from dataset.cache import cached, decoded_by, fingerprint
from dataset.folder_facts import Facts, LoadFitted, facts_of, size_of_images, without
from dataset.folder_layout import Listing, read_layout
from dataset.folder_parquet import unpacked
from dataset.image_files import ImageFiles
from dataset.registry import DataRequest, datasets
from dataset.spec import Dataset, DatasetSpec
from helper.errors import UserError

MEMORY_LIMIT = 2 * 2**30
"""Bytes of decoded images (N S S 3) up to which a set is held on the device."""
MIN_IMG_SIZE, MAX_IMG_SIZE = 8, 2048


@datasets.register("folder")
class Folder:
    @staticmethod
    def spec(request: DataRequest) -> DatasetSpec:
        """Reads the folder: classes, size, mean and deviation are those of its images.

        Raises UserError.
        """
        listing, facts, img_size, _ = read_folder(key_of(request))
        return DatasetSpec(
            name="folder",
            num_classes=len(listing.class_names),
            img_size=img_size,
            mean=request.mean or facts.mean,
            std=request.std or facts.std,
            crop_padding=img_size // 8,
            cutout_size=img_size // 4,
            autoaugment_policy="cifar10" if img_size <= 32 else "imagenet",
            class_names=listing.class_names,
        )

    @staticmethod
    def load(request: DataRequest) -> Dataset:
        """Both splits; `test` None where the folder has no test set. Raises UserError."""
        listing, facts, img_size, mark = read_folder(key_of(request))
        files = {"train": listing.train, "test": listing.test}
        files = {split: without(f, facts.damaged) for split, f in files.items() if f is not None}
        size = sum(map(len, files.values())) * img_size**2 * 3
        streams = size > MEMORY_LIMIT if request.images == "auto" else request.images == "stream"
        splits = files if streams else decoded(request, files, listing.root, img_size, mark)
        spec = Folder.spec(request)
        how = (
            "are streamed from their files, random parts of them"
            if streams
            else "are held in memory"
        )
        notes = [
            *listing.notes,
            *damage_notes(facts),
            (
                f"data folder {listing.root}: {sum(map(len, files.values()))} images {how} "
                f"({size / 1e9:.2f} GB decoded, --images {request.images})"
            ),
            "normalised by mean {:.4f},{:.4f},{:.4f} std {:.4f},{:.4f},{:.4f}".format(
                *spec.mean, *spec.std
            ),
        ]
        return Dataset(
            spec=spec,
            train=splits["train"].first(request.limit_train),
            test=splits["test"].first(request.limit_test) if "test" in splits else None,
            notes=tuple(notes),
        )


def key_of(request: DataRequest) -> DataRequest:
    """The part of a request on which the reading of the folder depends."""
    return DataRequest(
        root=request.root,
        cache_dir=request.cache_dir,
        num_workers=request.num_workers,
        img_size=request.img_size,
        may_write=request.may_write,
    )


@functools.lru_cache(maxsize=2)
def read_folder(request: DataRequest) -> tuple[Listing, Facts, int, str]:
    """(files, facts, img_size, fingerprint of the files).

    Once in a process: a large folder takes seconds to list.
    """
    cache_dir = request.cache_dir or request.root / "cache"
    listing = read_layout(unpacked(request.root, cache_dir, may_write=request.may_write))
    img_size = request.img_size or size_of_images(listing.train)
    if not MIN_IMG_SIZE <= img_size <= MAX_IMG_SIZE:
        raise UserError(f"--img_size must be {MIN_IMG_SIZE}..{MAX_IMG_SIZE}, got {img_size}")
    mark = fingerprint(listing.root, files_of(listing))
    facts = facts_of(
        listing,
        img_size,
        cache_dir / f"folder{img_size}-{mark}.json",
        num_workers=request.num_workers,
        may_write=request.may_write,
    )
    return listing, facts, img_size, mark


def files_of(listing: Listing) -> list[str]:
    """All that says what the images and labels are."""
    images = [path for files in (listing.train, listing.test) if files for path in files.paths()]
    tables = [
        *listing.root.glob("*.csv"),
        *listing.root.glob("*/labels.csv"),
        listing.root / "classes.txt",
    ]
    return images + [str(path) for path in sorted(tables) if os.path.exists(path)]


def decoded(
    request: DataRequest, files: dict[str, ImageFiles], root: Path, img_size: int, mark: str
) -> dict:
    """The splits from the cache, (N, S, S, 3) uint8 each."""
    decode = {
        split: partial(
            decoded_by, LoadFitted(f, img_size), f, request.num_workers, f"decoding {split} images"
        )
        for split, f in files.items()
    }
    return cached(request, f"folder{img_size}", root, mark, decode)


def damage_notes(facts: Facts) -> list[str]:
    """A warning if images were left out: how many, and why the first."""
    if not facts.damaged:
        return []
    reason = next(iter(facts.damaged.values()))
    return [
        f"warning: {len(facts.damaged)} images that cannot be read are left out; the first:"
        f" {reason}"
    ]
