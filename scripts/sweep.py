#!/usr/bin/env python3
"""The paper's experiments: pairs of networks x DA schemes x trials, trainings and T. stddev passes.

    # run what is not finished
    python scripts/sweep.py --dataset cifar100 --kind both --jobs 4 --gpus 0,1
    # its commands, one a line
    python scripts/sweep.py --dataset cifar100 --kind train --print
    # done, running, failed, to do
    python scripts/sweep.py --dataset cifar100 --kind both --status

Trial t has --trial t --seed t: the schemes of one trial see the same batches and begin with the
same weights. Words after -- go to every command (-- --limit_train 5000 --epochs 8) and make another
job of it.

A job's run is found by all its options in Experiments/*/log/args.json, whoever started it. A
finished run is skipped, an interrupted one goes on in its folder: each command ends in
--resume_ExpID same. A pass that picks by student_entropy takes the student that was trained with
the same words (--epochs apart: the one with the most). It waits for a training in the same sweep,
and is left out where there is none. While a job runs it holds a lock in Experiments/.sweep/, where
its output is too: several sweeps may share the work.

Exit status: 0 all is finished or run by another sweep, 1 a job failed or lacks its student, 2 bad
input, 130 Ctrl-C.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.errors import one_line_errors
from scripts.sweep.command_line import PROGRAM, main

if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        sys.exit(main(sys.argv[1:], __doc__ or ""))
