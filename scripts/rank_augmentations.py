#!/usr/bin/env python3
"""Rank augmentations from the teacher alone, with error bars, and a guard against empty views.

    python scripts/rank_augmentations.py --path_t save/models/wrn_16_2_vanilla/ckpt_epoch_240.pth
    python scripts/rank_augmentations.py cutmix mixup cutout:size=16 --path_t FILE --until order \\
        -o order.csv

The lower T. stddev, the better the student is expected to be (H. Wang et al., NeurIPS 2022, arXiv
2012.02909). The teacher sees each batch once and each scheme's view of it once; it stops when the
question is answered. The same command goes on where it was interrupted. scripts/rank/README.md says
how to read the table.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.cli import short_help

PROGRAM = "rank_augmentations.py"


def main(argv: Sequence[str]) -> None:
    # They bring PyTorch along, which takes seconds: --help need not wait for it.
    from helper.errors import memory_advice
    from scripts.rank.command_line import parse
    from scripts.rank.ranking_job import rank

    options = parse(argv)
    with memory_advice(options.batch_size):
        rank(options)


if __name__ == "__main__":
    short_help.answer(PROGRAM, sys.argv[1:])
    from helper.loop.job import script

    with script(PROGRAM):
        main(sys.argv[1:])
