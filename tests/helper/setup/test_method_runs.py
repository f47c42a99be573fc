"""Whole runs with any method: what is resumed, recorded, warned of."""

import signal

import pytest
import torch
from command_line import TINY, identical, load, log_lines, metrics, new_run, run, without_clock

from helper.loop.metrics import MeanMeter

pytestmark = pytest.mark.usefixtures("empty_folder")


# --- Runs -----------------------------------------------------------------------------------------

WORDS = f"{TINY} --nce_k 7 --init_epochs 2 --seed 3 --model_s resnet8"
MIXED = "--lw_mix [1,0,1] --mix_mode cutmix --t_output_as_target_for_input_mix --feature_views both"


@pytest.mark.slow
@pytest.mark.parametrize("distill", ["crd+vid+review+dkd", "abound+factor", "simkd"])
def test_a_resumed_run_equals_the_uninterrupted_one(distill, tiny_teacher):
    command = f"{WORDS} {MIXED} --path_t {tiny_teacher} --distill {distill}"
    whole = new_run("train_student.py", command, "--epochs 2")
    part = new_run("train_student.py", command, "--epochs 1")
    run("train_student.py", command, "--epochs 2", f"--resume_student {part}/weights/ckpt.pth")
    assert identical(load(part / "weights" / "ckpt.pth"), load(whole / "weights" / "ckpt.pth"))
    of_epochs = ("initial", "train", "epoch")
    first, second = (
        [entry for entry in without_clock(metrics(path)) if entry["kind"] in of_epochs]
        for path in (part, whole)
    )
    assert first == second


def test_an_initial_stage_is_resumed(tiny_teacher, monkeypatch):
    """Between two steps; the steps of the distillation are counted, and shown, as without it."""
    words = f"{WORDS} --mix_mode cutmix --lw_mix [1,0,1] --save_img_interval 2 --epochs 1"
    command = f"{words} --path_t {tiny_teacher} --distill abound"
    whole = new_run("train_student.py", command)
    calls, real = [], MeanMeter.update

    def stop_in_the_second_epoch(self, *arguments):
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGTERM)
        return real(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(MeanMeter, "update", stop_in_the_second_epoch)
        run("train_student.py", command, "--project_name part")
    assert stopped.value.code == 143
    (part,) = whole.parent.glob("part*")
    assert any(
        "interrupted in epoch 2 of the initial stage after step 2 (SIGTERM); repeat" in line
        for line in log_lines(part)
    )
    run("train_student.py", command, f"--resume_ExpID {part.name}")
    assert identical(load(part / "weights" / "ckpt.pth"), load(whole / "weights" / "ckpt.pth"))
    pictures = [{path.name for path in run.glob("gen_img/*")} for run in (part, whole)]
    assert pictures[0] == pictures[1] == {"batch_step2.png", "second_view_step2.png"}


def test_another_teacher_is_another_job(tiny_teacher, tmp_path, capsys):
    command = f"{WORDS} --distill crd --epochs 1"
    path = new_run("train_student.py", command, f"--path_t {tiny_teacher}")
    moved = tmp_path / "elsewhere" / "resnet14_vanilla" / "other_name.pth"
    moved.parent.mkdir(parents=True)
    moved.write_bytes(tiny_teacher.read_bytes())
    resume = f"--resume_student {path}/weights/ckpt.pth"
    run("train_student.py", command, f"--path_t {moved}", resume)  # the same, elsewhere
    content = torch.load(moved, weights_only=True)
    content["model"]["fc.bias"] += 1
    torch.save(content, moved)
    with pytest.raises(SystemExit):
        run("train_student.py", command, f"--path_t {moved}", resume)
    assert "that run had teacher checksum " in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, line",
    [
        ("--distill crd -b 0", "warning: --beta 0: crd is left out"),
        (
            "--distill fsp --init_epochs 0",
            "warning: --init_epochs 0: the initial stage of fsp is left out",
        ),
        (
            "--distill kd -b 3",
            "warning: --beta has no effect: kd has no feature loss in the main stage",
        ),
        (
            "--distill dkd --kd_T 8",
            "warning: --kd_T and --kd_S are kd's; dkd has its own temperature",
        ),
        (
            "--distill crd --lw_mix [1,0,1] --mix_mode cutmix",
            "warning: the second view has no effect: crd compares features of the first",
        ),
        (
            "--distill kd --lw_mix [1,0,1] --mix_mode cutmix --feature_views both",
            "warning: --feature_views both has no effect: kd compares no features",
        ),
        ("--distill kd --nce_k 8", "warning: --nce_k 8 has no effect: it is for crd"),
        (
            "--distill kd --init_epochs 3",
            "warning: --init_epochs 3 has no effect: it is for fsp, abound, factor",
        ),
        (
            "--distill kd --lw_mix [1,0,1] --mix_mode mixup --bbox square_rand_bbox",
            "warning: --bbox square_rand_bbox has no effect: it is for cutmix",
        ),
        (
            "--distill kd --lw_mix [1,0,1] --mix_mode cutmix --mix_n_run 4",
            "warning: --mix_n_run 4 has no effect: nothing is picked, as by --mix_mode cutmix_pick",
        ),
        (
            "--distill kd --lw_mix [1,0,1] --mix_mode crop:draw=batch --mix_draw sample",
            "warning: --mix_draw sample has no effect: every stage has its own draw=",
        ),
        (
            "--lr_schedule cosine --lr_decay_epochs 3,5",
            "warning: --lr_decay_epochs 3,5 has no effect: --lr_schedule cosine has no steps",
        ),
        (
            "--lr_schedule cosine --lr_decay_rate 0.2",
            "warning: --lr_decay_rate 0.2 has no effect: --lr_schedule cosine has no steps",
        ),
        (
            "--weight_decay 0.1 --weight_decay_schedule 0:5e-4",
            "warning: --weight_decay 0.1 has no effect: --weight_decay_schedule 0:5e-4 says it from"
            " the first epoch",
        ),
        (
            "--learning_rate 0 --fix_student --utils.ON --utils.check_ce_var --nesterov",
            "warning: --nesterov has no effect: --fix_student trains nothing",
        ),
        (
            "--t_output_as_target_for_input_mix",
            "warning: --t_output_as_target_for_input_mix has no effect: there is no second view",
        ),
    ],
)
def test_options_without_effect_are_told(words, line, tiny_teacher, capsys):
    run("train_student.py", f"{WORDS} --path_t {tiny_teacher} --dry_run {words}")
    assert line in capsys.readouterr().out.splitlines()


def test_log_txt_states_the_methods_and_their_losses(tiny_teacher):
    path = new_run(
        "train_student.py", f"{WORDS} --path_t {tiny_teacher} --distill dkd+crd -b 2 --epochs 1"
    )
    lines = log_lines(path)
    assert "loss: 1 CE(x) + 1 dkd(x) + 2 crd(x)" in lines
    assert "method dkd:weight=1,alpha=1,beta=8,T=4,warmup=20" in lines
    crd = "method crd:weight=2,mode=exact,nce_k=7,nce_t=0.07,nce_m=0.5,feat_dim=128"
    assert f"{crd}, negatives out of 44 images" in lines
    (step,) = [line for line in lines if line.startswith("Epoch: [1][0/")]
    assert "loss_div-dkd(*1.0) " in step and "loss_crd(*2.0) " in step
    (entry,) = metrics(path, "train")
    total = entry["cls"] + entry["div-dkd"] + 2 * entry["crd"]
    assert entry["loss"] == pytest.approx(total, rel=1e-5)


def test_a_simkd_student_cannot_pass_for_an_ordinary_network(tiny_teacher, capsys):
    command = f"{WORDS} --path_t {tiny_teacher} --epochs 1"
    path = new_run("train_student.py", command, "--distill simkd")
    best = path / "weights" / "resnet8_best.pth"
    assert {"project.0.weight", "weight", "bias"} <= load(best)["head"].keys()
    for flag in ("--path_t", "--finetune_student"):
        with pytest.raises(SystemExit):
            run("train_student.py", command, f"{flag} {best}")
        assert (
            f"{flag} {best} is a student whose classifier a method replaced"
            in capsys.readouterr().err
        )


def test_t_stddev_does_not_depend_on_the_method(tiny_teacher):
    passes = (
        f"{WORDS} --path_t {tiny_teacher} --fix_student --utils.ON --utils.check_ce_var --epochs "
        f"4 {MIXED}"
    )
    values = []
    for distill in ("kd", "crd", "simkd"):
        (summary,) = metrics(new_run("train_student.py", passes, f"--distill {distill}"), "summary")
        values.append(summary["t_stddev"])
    assert values[0] == values[1] == values[2]
