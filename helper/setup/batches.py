"""The batches of each split of a data set."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from dataset import Dataset, ImageFiles
from dataset.batches import Batches, DefaultDA
from dataset.dev_split import dev_split
from dataset.streamed import AnyBatches, StreamedBatches
from helper import speed
from helper.cli.parser import Options
from helper.errors import UserError
from helper.processes import distributed
from helper.processes.sync_batchnorm import SyncBatchNorm2d
from models.model_info import output_shapes

EVALUATION_BATCH = {"cpu": 100, "cuda": 2000}
"""Images at the most. A processor is fastest with what its cache holds, a GPU with a lot."""
EVALUATION_BYTES = 2**30
"""For a GPU's activations: several runs may share it."""
LIVE_AT_ONCE = 5
"""The activations that are there at the same time, as a multiple of the widest layer's output."""
STREAMED_EVALUATION_BATCH = 100


def evaluation_batch_of(device: torch.device, img_size: int, networks: Sequence[nn.Module]) -> int:
    """Images that are evaluated at once: on a GPU as many as the memory for activations takes."""
    if device.type == "cpu":
        return EVALUATION_BATCH["cpu"]
    kinds = (nn.Conv2d, nn.Linear)
    values = [
        shape.numel()
        for network in networks
        for _, shape in output_shapes(network, img_size, kinds)
    ]
    of_an_image = 4 * LIVE_AT_ONCE * max(values, default=3 * img_size**2)
    return max(100, min(EVALUATION_BATCH[device.type], EVALUATION_BYTES // of_an_image))


def check_smallest_part(
    network: nn.Module, name: str, img_size: int, *, count: int, batch_size: int, n_pick: int = 0
) -> None:
    """UserError if the training batches leave one image alone with BatchNorms that need more.

    These are BatchNorms of maps of one pixel: a single value has no variance. count: of the
    training images. n_pick: of the views that are kept; 0 if all are. Of several processes each
    sees its part of a batch.
    """
    sizes = {min(count, batch_size), count % batch_size or batch_size}
    shares = any(isinstance(layer, SyncBatchNorm2d) for layer in network.modules())
    processes = 1 if shares else distributed.size()
    smallest = min(size if size < processes else size // processes for size in sizes)
    if min(smallest, n_pick or smallest) > 1 or takes_one_image(network, img_size):
        return
    if smallest > 1:
        raise UserError(
            f"--n_pick {n_pick} leaves one view alone in a batch, and the BatchNorms of {name} need"
            " two there: choose another --n_pick"
        )
    part = "a part of a batch" if processes > 1 else "a batch"
    raise UserError(
        f"--batch_size {batch_size} leaves one of the {count} training images alone in {part}, and "
        f"the BatchNorms of {name} need two there: choose another --batch_size, or --limit_train"
    )


def takes_one_image(network: nn.Module, img_size: int) -> bool:
    """Whether the network can be trained on a batch of one; nothing is computed."""
    shapes_only = copy.deepcopy(network).to("meta").train()
    for layer in shapes_only.modules():
        if isinstance(layer, SyncBatchNorm2d):
            layer.is_divided = False
    try:
        shapes_only(torch.empty(1, 3, img_size, img_size, device="meta"))
    except ValueError:  # PyTorch's own check
        return False
    return True


class Splits(NamedTuple):
    """Batches of each split: the training ones shuffled, with the default DA."""

    train: AnyBatches
    test: AnyBatches
    dev: AnyBatches | None
    """The images that --dev_split holds out of the training set."""


def make_batches(
    data: Dataset,
    options: Options,
    device: torch.device,
    generator: torch.Generator,
    networks: Sequence[nn.Module] = (),
) -> Splits:
    """networks: those that will be evaluated."""
    if data.test is None and not options.dev_split:
        raise UserError(
            f"--data_root {options.data_root} holds no val/ or test/ to measure accuracy on:"
            " --dev_split 0.1 takes a tenth of the training images for it"
        )
    streams = isinstance(data.train, ImageFiles)
    make: Any = Batches  # the two take the same arguments, of splits of their own kind
    at_once = {"at_once": speed.batches_at_once(device, options.batch_size, data.spec.img_size)}
    if streams:
        make = partial(StreamedBatches, num_workers=options.num_workers, sharing=distributed)
        at_once = {}
    crop, flip = (digit == "1" for digit in options.use_DA)
    evaluation_batch = (
        STREAMED_EVALUATION_BATCH
        if streams
        else evaluation_batch_of(device, data.spec.img_size, networks)
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
        **at_once,
    )
    evaluated = partial(make, spec=data.spec, batch_size=evaluation_batch, device=device)
    if data.test is None and dev_rows is not None:  # what is held out takes its place
        return Splits(train, evaluated(images, rows=dev_rows[: options.limit_test]), None)
    dev = None if dev_rows is None else evaluated(images, rows=dev_rows)
    return Splits(train, evaluated(data.test), dev)
