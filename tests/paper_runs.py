"""Tiny runs with the paper's options, and the lines that they log."""

import re

import pytest
from command_line import TINY, new_run, run, the_run

from augment import PUBLISHED

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
WORDS = f"{TINY} --seed 7"
STEPS = 3
PAPER = (
    "--distill kd --model_s resnet8 -r 0.1 -a 0.9 -b 0 --t_output_as_target_for_input_mix "
    "--lw_mix [1,0,1]"
)
PASS = "--learning_rate 0 --fix_student --utils.ON --utils.check_ce_var --epochs 4"
PICK = "--mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion"
SCHEMES = {mode: f"--mix_mode {mode}" for mode in PUBLISHED} | {
    f"cutmix_pick by {criterion}": f"{PICK} {criterion}"
    for criterion in ("student_entropy", "teacher_entropy")
}

N, ACCURACY = r"(\d+\.\d+)", r"(\d+\.\d{4})"
EPOCH_LINE = re.compile(
    rf"Acc1 {ACCURACY} Acc5 {ACCURACY} TestLoss (\d+\.\d{{6}}) Epoch (\d+) \(after update\) "
    r"lr (\S+) "
    rf"\(Best_Acc1 {ACCURACY} @ Epoch (\d+)\)"
)
STDDEV_LINE = re.compile(
    r"Check T prob: NumOfSampledStd (\d+) Epoch (\d+) Step (\d+) TotalStep (\d+) "
    r"MeanStd (nan|\d\.\d{6}) MeanEntropy (\d\.\d{6})"
)
STEP_LINE = re.compile(
    rf"Epoch: \[(\d+)\]\[(\d+)/(\d+)\] Time {N} \({N}\) Data {N} \({N}\) Loss {N} \({N}\) "
    rf"Acc@1 {N} \({N}\) "
    rf"Acc@5 {N} \({N}\) \| loss_cls\(\*0\.1\) {N} loss_div-oriKLD\(\*1\.0\) {N} "
    rf"loss_div-mixKLD\(\*1\.0\) {N}"
    rf" loss_div\(\*0\.9\) {N}"
)


RESUMABLE = ("ckpt.pth", "ckpt.previous.pth")


def weights_files(folder):
    return {path.name for path in (folder / "weights").iterdir()}


def matches(pattern, lines):
    return [found.groups() for found in map(pattern.fullmatch, lines) if found]


def train_teacher(folder):
    """(path of the weights, the teacher's own run folder)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(TEACHER, WORDS, "--model resnet14 --epochs 2 --learning_rate 0.01")
        weights = folder / "save" / "models" / "resnet14_vanilla" / "ckpt_epoch_2.pth"
        return weights, folder / the_run()


def distil(teacher, *words):
    """A student's run with the tiny data and the paper's options; its folder."""
    return new_run(STUDENT, WORDS, PAPER, f"--path_t {teacher[0]}", *words)


def train_uninterrupted(folder, teacher, scheme):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder / distil(
            teacher, scheme, "--epochs 4 --lr_decay_epochs 3 --utils.ON --utils.check_ce_var"
        )
