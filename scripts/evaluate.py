"""Evaluate a checkpoint: top-1, top-5, loss and calibration error on the test images of a data set.

    python scripts/evaluate.py Experiments/<run>/weights/vgg8_best.pth
    python scripts/evaluate.py cifar100_resnet56.pt --dataset cifar100 --data_root ~/data --json

FILE is any checkpoint that fits a model: of this project, in the layouts of other repositories, or
safetensors. The model and the data set are those that the file names; where it names none, its
weights tell the model.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.errors import UserError, memory_advice, one_line_errors

import torch
from torch import nn

from dataset import DatasetSpec, ImageFiles, ImageSet, datasets
from dataset.batches import Batches
from dataset.streamed import AnyBatches, StreamedBatches
from helper import speed
from helper.cli.flags import add_data, add_machine
from helper.cli.options import check_data_options, data_request
from helper.cli.parser import OptionParser, Options, one_of
from helper.loop.calibration import evaluate_calibration
from helper.processes import distributed
from helper.run.checkpoint import check_class_names
from helper.run.load import load_weights
from helper.run.read import read_checkpoint
from helper.run.recognize import recognize
from helper.run.recorded import recorded_accuracy
from helper.setup.batches import STREAMED_EVALUATION_BATCH, evaluation_batch_of
from helper.setup.machine import select_device
from helper.step.networks import freeze
from models import model_dict

PROGRAM = "evaluate.py"
OF_TRAINING = ("batch_size", "use_DA", "no_DA", "dev_split", "seed", "sync_bn", "compile")
"""Options of data and machine that change nothing here."""


def new_parser() -> OptionParser:
    title, _, details = (__doc__ or "").partition("\n")
    parser = OptionParser(prog=PROGRAM, description=title, epilog=details)
    what = parser.section("what")
    what("file", metavar="FILE", help="a checkpoint")
    what(
        "--model",
        type=one_of("model", model_dict),
        metavar="NAME",
        help="its model, where nothing tells it",
    )
    what(
        "--ema",
        action="store_true",
        help="take the running average of the weights (EMA) that it holds",
    )
    what("--json", action="store_true", help="print a JSON object")
    add_data(parser)
    add_machine(parser)
    parser.set_defaults(dataset=None, dry_run=False)
    return parser


def _batches(
    split: ImageSet | ImageFiles,
    spec: DatasetSpec,
    network: nn.Module,
    device: torch.device,
    *,
    num_workers: int,
) -> AnyBatches:
    """The split in order, from memory or from its files."""
    if isinstance(split, ImageFiles):
        return StreamedBatches(
            split, spec, STREAMED_EVALUATION_BATCH, device=device,
            num_workers=num_workers, sharing=distributed,
        )  # fmt: skip
    size = evaluation_batch_of(device, spec.img_size, [network])
    return Batches(split, spec, size, device=device)


def evaluate_file(options: Options) -> dict[str, Any]:
    """The facts of the file, and the measures.

    Accuracies and ECE in percent, loss in nats.
    """
    path = options.file
    checkpoint = read_checkpoint("FILE", path)
    says = checkpoint.get("dataset")
    options.dataset = options.dataset or (says if says in tuple(datasets) else "cifar100")
    if options.img_size is None and options.dataset == says:
        options.img_size = checkpoint.get("img_size")
    source, request = datasets[options.dataset], data_request(options)
    spec = source.spec(request)
    name = options.model or recognize("FILE", path, checkpoint).name
    check_data_options(options, spec)
    check_class_names(checkpoint, spec.class_names, flag="FILE", path=path)
    network = model_dict[name](num_classes=spec.num_classes, img_size=spec.img_size)
    notes = load_weights(
        network,
        name,
        checkpoint,
        flag="FILE",
        path=path,
        average=options.ema,
        class_ids=spec.class_ids,
    )
    device = select_device(options.device, options.precision)
    network = speed.place(freeze(network), device, spec.img_size)
    data = source.load(request)
    if data.test is None:
        raise UserError(f"--data_root {options.data_root} holds no val/ or test/ to evaluate on")
    batches = _batches(data.test, data.spec, network, device, num_workers=options.num_workers)
    result, error = evaluate_calibration(network, batches, amp=options.amp)
    return {
        "file": path, "model": name, "dataset": options.dataset, "images": len(data.test),
        "acc1": result.acc1, "acc5": result.acc5, "loss": result.loss, "ece": 100 * error,
        "recorded_acc1": recorded_accuracy(checkpoint), "notes": notes,
    }  # fmt: skip


def main(argv: Sequence[str]) -> None:
    parser = new_parser()
    options = parser.parse(argv)
    vain = [name for name in OF_TRAINING if getattr(options, name) != parser.get_default(name)]
    with memory_advice(options.batch_size):
        found = evaluate_file(options)
    found["notes"] += [f"warning: --{name} has no effect: nothing is trained" for name in vain]
    if options.json:
        clean = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in found.items()
        }
        print(json.dumps(clean))
        return
    for note in found["notes"]:
        print(note)
    recorded = found["recorded_acc1"]
    record = (
        "the file records no accuracy"
        if recorded is None
        else f"the file records Acc1 {recorded:.4f}"
    )
    print(
        f"{found['model']} on {found['dataset']}, {found['images']} test images: Acc1"
        f" {found['acc1']:.4f} Acc5 {found['acc5']:.4f} TestLoss {found['loss']:.6f} ECE"
        f" {found['ece']:.4f} ({record})"
    )


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        main(sys.argv[1:])
