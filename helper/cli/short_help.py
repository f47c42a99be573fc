"""The text that --help prints: the flags that people use first. `--help all` prints every flag.

It is text, so that it is there at once: nothing here imports PyTorch. A test compares it with the
parser.
"""

import itertools
import sys
from collections.abc import Sequence

STUDENT = """\
usage: python train_student.py --path_t FILE --model_s NAME --distill NAME [options]

Distil a teacher into a student with a second, stronger view of each batch; or measure from the
teacher alone how good that view is (T. stddev).

  --path_t FILE               the teacher: a checkpoint, .../MODEL_vanilla/*.pth
  --model_s NAME              the student (default: resnet8)
  --distill A+B               the method, or several: kd, dkd, crd, review, ... (default: kd)
  -r W  -a W  -b W            weights of the labels, of methods on logits, of methods on features
  --mix_mode STAGE+STAGE      the second view: cutmix, cutout:size=8+mixup, ...; with --lw_mix
  --lw_mix [W,W,W]            weights of KD on x, of labels on x', of KD on x'; the paper: [1,0,1]
  --t_output_as_target_for_input_mix
                              the teacher's output on x' is the target there, as in the paper
  --dataset NAME              cifar100 (default), tinyimagenet, folder, ..., synthetic (no files)
  --data_root DIR             where the data are; for folder, your images (default: data)
  --epochs N                  (default: 240)
  --seed N                    fixes every random draw

  --dry_run                   check the command, print the plan, write nothing
  --resume_ExpID same         go on with the run of this very command
  --list                      names of models, methods, stages of --mix_mode, data sets
  --help all                  every flag

  python train_student.py --path_t save/models/vgg13_vanilla/ckpt_epoch_240.pth --model_s vgg8 \\
    --distill kd -r 0.1 -a 0.9 -b 0 --t_output_as_target_for_input_mix --lw_mix [1,0,1] \\
    --mix_mode cutmix

T. stddev: the same with
    --learning_rate 0 --fix_student --utils.ON --utils.check_ce_var --epochs 10
"""
TEACHER = """\
usage: python train_teacher.py --model NAME [options]

Train a network on labels, for use as a teacher. It is written to
save/models/MODEL_vanilla/ckpt_epoch_N.pth, which train_student.py takes as --path_t.

  --model NAME                the network (default: resnet110)
  --pretrained FILE           start from these weights; hub: those of timm or torchvision
  --dataset NAME              cifar100 (default), tinyimagenet, folder, ..., synthetic (no files)
  --data_root DIR             where the data are; for folder, your images (default: data)
  --epochs N                  (default: 240)
  --lr_decay_epochs E,E       epochs after which the rate falls (default: 150,180,210)
  --learning_rate LR          (default: 0.05; 0.01 for light networks)
  --batch_size N              (default: 64)
  --mix_mode STAGE+STAGE      train on this view: autoaugment, mixup, cutmix, ... (default: none)
  --seed N                    fixes every random draw

  --dry_run                   check the command, print the plan, write nothing
  --resume_ExpID same         go on with the run of this very command
  --list                      names of models, stages of --mix_mode, data sets
  --help all                  every flag

  python train_teacher.py --model vgg13
"""
RANK = """\
usage: python scripts/rank_augmentations.py --path_t FILE [SCHEME ...] [options]

Rank augmentations from the teacher alone: the lower T. stddev, the better a student is expected to
be. No student is trained. A guard rejects views that say nothing: their T. stddev is the lowest.

  SCHEME ...                  what --mix_mode takes: cutmix, cutout:size=16, autoaugment+cutmix;
                              without one: the paper's, and a dozen others
  --path_t FILE               the teacher: a checkpoint
  --path_s FILE               a trained student, for picks that ask one
  --dataset NAME              cifar100 (default), tinyimagenet, folder, ..., synthetic (no files)
  --data_root DIR             where the data are; for folder, your images (default: data)
  --mix_draw HOW              one random draw a batch, or one an image: sample (default: batch)
  --until WHAT                stop when the best is known; order: every place is (default: best)
  --budget N                  training images at the most (default: 50000)
  --minutes M                 stop after so many minutes
  --search SPACE              look for the best of a space: quick, standard, wide, or a .toml file
  --validate METHOD:MODEL     train students under the winner and three others, such as kd:resnet8
  --output FILE.csv           the table, and FILE.png (default: ranking_TEACHER_DATASET.csv)
  --seed N                    fixes every random draw (default: 1)

  --help all                  every flag

  python scripts/rank_augmentations.py cutmix mixup cutout:size=16 --until order \\
    --path_t save/models/wrn_16_2_vanilla/ckpt_epoch_240.pth

The same command goes on where it was stopped. scripts/rank/README.md says how to read the table.
"""
TEXTS = {"train_student.py": STUDENT, "train_teacher.py": TEACHER, "rank_augmentations.py": RANK}


def answer(program: str, argv: Sequence[str]) -> None:
    """Print the short help and exit with status 0, if a command asks for it alone."""
    if wants_short_help(argv):
        sys.stdout.write(TEXTS[program])
        raise SystemExit(0)


def wants_short_help(argv: Sequence[str]) -> bool:
    """Whether --help or -h is in a command, without `all` after it."""
    pairs = itertools.pairwise([*argv, ""])
    return any(word in ("-h", "--help") and after != "all" for word, after in pairs)
