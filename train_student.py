"""Distil a teacher into a student under a second view of each batch, or measure T. stddev.

    python train_student.py --path_t save/models/vgg13_vanilla/ckpt_epoch_240.pth --model_s vgg8 \
        --distill kd -r 0.1 -a 0.9 -b 0 --lw_mix [1,0,1] --t_output_as_target_for_input_mix \
        --mix_mode cutmix

`--help` explains the flags, `--dry_run` checks a command without writing anything.
"""

import sys
from collections.abc import Sequence

from helper.cli import short_help

PROGRAM = "train_student.py"


def main(argv: Sequence[str]) -> None:
    # They bring PyTorch along, which takes seconds: --help need not wait for it.
    from helper.cli.options import parse_student
    from helper.loop.distilling import Distilling
    from helper.loop.job import carry_out
    from helper.loop.measuring import Measuring

    options = parse_student(argv)
    task = Measuring if options.fix_student else Distilling
    carry_out(PROGRAM, options, task, defaults=parse_student([]))


if __name__ == "__main__":
    short_help.answer(PROGRAM, sys.argv[1:])
    from helper.loop.job import script

    with script(PROGRAM):
        main(sys.argv[1:])
