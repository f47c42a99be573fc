#!/usr/bin/env python3
"""The traffic and the speed of a run on several GPUs, from network sizes and a few times.

    python scripts/scaling.py                      # vgg13/vgg8 and others, batch 64 to 4096
    python scripts/scaling.py --pairs resnet34/resnet18 --classes 1000 --image_us 600 \\
        --gigabytes_per_s 20

Per step each process sends and receives its share of the gradient's sum (4 bytes a parameter, a
ring: 2 (n-1)/n times) and all rows of both networks' logits on both views; a T. stddev pass sends
one sum of K + 2 numbers a group of five steps. The expected time of a step is

    fixed + image * B/n + (bytes sent) / bandwidth + latency * messages

where `fixed` is what a step takes with no images at all, launches above all. Only the third and
fourth term are the price of the division, but the first does not shrink by it: that is why small
batches gain nothing.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.cli.parser import OptionParser, number
from helper.cli.plugins import load_plugins
from helper.errors import UserError, one_line_errors, unknown_name
from models import model_dict
from models.model_info import count_parameters

PROGRAM = "scaling.py"
GPUS = (1, 2, 4, 8, 16, 32, 64)
BATCHES = (64, 256, 1024, 4096)
MESSAGES = 5
"""All-gathers of four sets of logits, and the gradient."""


def bytes_of_step(parameters: int, classes: int, batch: int, gpus: int) -> dict[str, float]:
    """Bytes that one process sends in a step: of the gradient, of both networks' logits."""
    others = (gpus - 1) / gpus
    return {"gradient": 2 * others * 4 * parameters, "logits": others * 4 * batch * classes * 4}


def bytes_of_group(classes: int, gpus: int) -> float:
    """Bytes that one process sends for a group of a T. stddev pass."""
    return 2 * (gpus - 1) / gpus * 8 * (classes + 2)


def seconds_of_step(options: argparse.Namespace, parameters: int, batch: int, gpus: int) -> float:
    compute = options.fixed_ms / 1e3 + options.image_us / 1e6 * batch / gpus
    if gpus == 1:
        return compute
    sent = sum(bytes_of_step(parameters, options.classes, batch, gpus).values())
    return compute + sent / (options.gigabytes_per_s * 1e9) + MESSAGES * options.latency_us / 1e6


def parameters_of(pair: str, classes: int) -> int:
    """The size of the student of "teacher/student"."""
    if pair.count("/") != 1:
        raise UserError(f"--pairs: {pair!r} is not teacher/student, such as vgg13/vgg8")
    for name in pair.split("/"):
        if name not in model_dict:
            raise unknown_name("model", name, model_dict)
    return count_parameters(model_dict[pair.split("/")[1]](num_classes=classes, img_size=32))


def kilo(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def main(argv: list[str]) -> None:
    # fmt: off
    description, _, details = (__doc__ or "").partition("\n")
    load_plugins()
    parser = OptionParser(prog=PROGRAM, description=description, epilog=details)
    what = parser.section("what")
    what("--pairs", default="wrn_40_2/wrn_16_2,vgg13/vgg8,resnet56/resnet20", metavar="T/S,T/S",
         help="teacher/student (default: %(default)s)")
    what("--classes", default=100, type=number(int, 1), metavar="K", help="(default: 100)")
    times = parser.section("what is assumed")
    times("--fixed_ms", default=5.0, type=number(float, 0), metavar="X", help="a step without images (default: 5)")
    times("--image_us", default=15.0, type=number(float, 0), metavar="X", help="what each image adds (default: 15)")
    times("--gigabytes_per_s", default=100.0, type=number(float, 1e-6), metavar="X", help="between two GPUs (default: 100)")
    times("--latency_us", default=30.0, type=number(float, 0), metavar="X", help="of a message (default: 30)")
    # fmt: on
    options = parser.parse(argv)
    if not options.fixed_ms + options.image_us:
        raise UserError("--fixed_ms 0 and --image_us 0: a step takes some time")
    pairs = {pair: parameters_of(pair, options.classes) for pair in options.pairs.split(",")}

    print(
        "| pair | student | gradient a step, 2 / 8 / 64 GPUs | logits a step, batch 64 / 1024, 8 GPUs | T. stddev a group |"
    )
    print("|---|---|---|---|---|")
    for pair, parameters in pairs.items():
        gradient = " / ".join(
            kilo(bytes_of_step(parameters, options.classes, 64, n)["gradient"]) for n in (2, 8, 64)
        )
        logits = " / ".join(
            kilo(bytes_of_step(parameters, options.classes, b, 8)["logits"]) for b in (64, 1024)
        )
        group = kilo(bytes_of_group(options.classes, 8))
        print(f"| {pair} | {parameters / 1e6:.2f} M | {gradient} | {logits} | {group} |")
    print(
        f"\nNot measured: expected if a step takes {options.fixed_ms:g} ms and {options.image_us:g} us an image, and "
        f"GPUs are {options.gigabytes_per_s:g} GB/s and {options.latency_us:g} us a message apart."
    )
    for pair, parameters in pairs.items():
        print(f"\n{pair}: times as fast as one GPU, and share of the ideal\n")
        print(f"| batch | {' | '.join(f'{n} GPUs' for n in GPUS[1:])} |\n|{'---|' * len(GPUS)}")
        for batch in BATCHES:
            alone = seconds_of_step(options, parameters, batch, 1)
            speedups = [alone / seconds_of_step(options, parameters, batch, n) for n in GPUS[1:]]
            cells = " | ".join(f"{s:.2f}x {100 * s / n:.0f} %" for s, n in zip(speedups, GPUS[1:]))
            print(f"| {batch} | {cells} |")


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        main(sys.argv[1:])
