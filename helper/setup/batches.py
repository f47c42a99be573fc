"""The batches of each split of a data set."""

from functools import partial
from typing import Any, NamedTuple

import torch

from dataset import Dataset, DatasetSpec, ImageFiles
from dataset.batches import Batches, DefaultDA
from dataset.dev_split import dev_split
from dataset.streamed import AnyBatches, StreamedBatches
from helper.cli.parser import Options
from helper.errors import UserError
from helper.processes import distributed

EVALUATION_BATCH = {"cpu": 100, "cuda": 2000}
"""Images of 32x32 pixels. A processor is fastest with what its cache holds, a GPU with a lot."""
STREAMED_EVALUATION_BATCH = 100


def evaluation_batch_of(spec: DatasetSpec, device: torch.device) -> int:
    """As many images as have the pixels of `EVALUATION_BATCH`; on a CPU 100 of any size."""
    most = EVALUATION_BATCH[device.type]
    return max(100, min(most, most * 32**2 // spec.img_size**2))


class Splits(NamedTuple):
    """Batches of each split: the training ones shuffled, with the default DA."""

    train: AnyBatches
    test: AnyBatches
    dev: AnyBatches | None
    """What --dev_split holds out of the training set."""


def make_batches(
    data: Dataset, options: Options, device: torch.device, generator: torch.Generator
) -> Splits:
    if data.test is None and not options.dev_split:
        raise UserError(
            f"--data_root {options.data_root} holds no val/ or test/ to measure accuracy on:"
            " --dev_split 0.1 takes a tenth of the training images for it"
        )
    streams = isinstance(data.train, ImageFiles)
    make: Any = Batches  # the two take the same arguments, of splits of their own kind
    if streams:
        make = partial(StreamedBatches, num_workers=options.num_workers, sharing=distributed)
    crop, flip = (digit == "1" for digit in options.use_DA)
    evaluation_batch = (
        STREAMED_EVALUATION_BATCH if streams else evaluation_batch_of(data.spec, device)
    )
    images = data.train.to(device)  # once, for both parts of it
    train_rows = dev_rows = None
    if options.dev_split:
        train_rows, dev_rows = dev_split(data.train.labels, options.dev_split)
    train = make(
        images,
        data.spec,
        options.batch_size,
        device=device,
        generator=generator,
        default_da=DefaultDA(crop, flip),
        rows=train_rows,
    )
    evaluated = partial(make, spec=data.spec, batch_size=evaluation_batch, device=device)
    if data.test is None and dev_rows is not None:  # what is held out takes its place
        return Splits(train, evaluated(images, rows=dev_rows[: options.limit_test]), None)
    dev = None if dev_rows is None else evaluated(images, rows=dev_rows)
    return Splits(train, evaluated(data.test), dev)
