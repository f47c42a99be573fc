"""Train a network on labels, for use as a teacher.

    python train_teacher.py --model vgg13

writes save/models/vgg13_vanilla/ckpt_epoch_240.pth, which train_student.py takes as --path_t. With
`--mix_mode autoaugment`, `mixup` or `cutmix` it trains on that view of each batch.
"""

import sys
from collections.abc import Sequence

from helper.cli import short_help

PROGRAM = "train_teacher.py"


def main(argv: Sequence[str]) -> None:
    # They bring PyTorch along, which takes seconds: --help need not wait for it.
    from helper.cli.options import parse_teacher
    from helper.loop.job import carry_out
    from helper.loop.teaching import Teaching

    carry_out(PROGRAM, parse_teacher(argv), Teaching, defaults=parse_teacher([]))


if __name__ == "__main__":
    short_help.answer(PROGRAM, sys.argv[1:])
    from helper.loop.job import script

    with script(PROGRAM):
        main(sys.argv[1:])
