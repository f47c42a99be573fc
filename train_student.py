"""Distil a teacher into a student under a second, stronger view of each batch, or measure T. stddev.

    python train_student.py --path_t save/models/vgg13_vanilla/ckpt_epoch_240.pth --model_s vgg8 --distill kd \
        -r 0.1 -a 0.9 -b 0 --t_output_as_target_for_input_mix --lw_mix [1,0,1] --mix_mode cutmix

`--help` explains every flag, `--dry_run` checks a command without writing anything.
"""

import sys
from collections.abc import Sequence

from helper.cli.options import parse_student
from helper.loop.distilling import Distilling
from helper.loop.job import carry_out, script
from helper.loop.measuring import Measuring

PROGRAM = "train_student.py"


def main(argv: Sequence[str]) -> None:
    options = parse_student(argv)
    task = Measuring if options.fix_student else Distilling
    carry_out(PROGRAM, options, task, defaults=parse_student([]))


if __name__ == "__main__":
    with script(PROGRAM):
        main(sys.argv[1:])
