"""Train a network on labels, for use as a teacher.

    python train_teacher.py --model vgg13

writes save/models/vgg13_vanilla/ckpt_epoch_240.pth, which train_student.py takes as --path_t. With
`--mix_mode autoaugment`, `mixup` or `cutmix` it trains on that view of each batch.
"""

import sys
from collections.abc import Sequence

from helper.cli.options import parse_teacher
from helper.loop.job import carry_out, script
from helper.loop.teaching import Teaching

PROGRAM = "train_teacher.py"


def main(argv: Sequence[str]) -> None:
    carry_out(PROGRAM, parse_teacher(argv), Teaching, defaults=parse_teacher([]))


if __name__ == "__main__":
    with script(PROGRAM):
        main(sys.argv[1:])
