"""--from_log: a logged command again, on another machine."""

import sys

import pytest
from command_line import log_lines, new_run, run

from helper.cli import from_log
from helper.cli.options import parse_student, parse_teacher
from helper.errors import UserError

HEAD = (
    "hostname: H  userip: me@1.2.3.4\ncd /home/me/Good-DA-in-KD\n"
    "CUDA_VISIBLE_DEVICES=1 python train_student.py {words}\n\n{options}\n\n[120000 1 "
    "2022/01/01-12:00:00] x\n"
)
PUBLISHED = (
    "--path_t /home/me/save/models/vgg13_vanilla/ckpt_epoch_240.pth --distill kd --model_s "
    "vgg8 -r 0.1 -a 0.9 -b 0 "
    "--lw_mix [1,0,1] --mix_mode cutmix --t_output_as_target_for_input_mix --project "
    "kd__vgg13vgg8 --lr_DA --d_z 100 "
    "--resume_ExpID 120000"
)


def write_log(folder, words=PUBLISHED, options="('alpha': 0.9) ('epochs': 240) ('lr_DA': True)"):
    path = folder / "log.txt"
    path.write_text(HEAD.format(words=words, options=options))
    return path


def test_a_published_command_is_run_again_and_flags_beside_it_win(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teacher = tmp_path / "save" / "models" / "vgg13_vanilla" / "ckpt_epoch_240.pth"
    teacher.parent.mkdir(parents=True)
    teacher.touch()
    log = write_log(tmp_path)
    options = parse_student(["--from_log", str(log), "--epochs", "3", "--model_s", "resnet8"])
    assert (options.model_s, options.epochs, options.alpha, options.lw_mix) == (
        "resnet8",
        3,
        0.9,
        (1, 0, 1),
    )
    assert options.path_t == "save/models/vgg13_vanilla/ckpt_epoch_240.pth"
    assert options.t_output_as_target_for_input_mix and not options.resume_ExpID
    told = "\n".join(
        from_log.differences(
            str(log), "train_student.py", options.expanded.notes, now=vars(options), found={}
        )
    )
    for fragment in (
        "--lr_DA is not offered here",
        "--d_z 100 is not offered here",
        "ckpt_epoch_240.pth is here save/models",
        "epochs was 240, is 3",
    ):
        assert fragment in told, told


def test_the_seed_that_was_drawn_is_used_again(tmp_path):
    log = write_log(tmp_path, options="('seed': 4711)")
    assert parse_student(["--from_log", str(log)]).seed == 4711
    assert parse_student([f"--from_log={log}", "--seed", "5"]).seed == 5


def test_a_flag_beside_wins_over_a_value_that_is_not_offered(tmp_path, capsys):
    log = write_log(
        tmp_path, words="--model_t_pretrained /old/t.pth --mix_mode gone --lw_mix 1,0,1"
    )
    options = parse_student(["--from_log", str(log), "--path_t", "new.pth", "--mix_mode", "mixup"])
    assert (options.path_t, options.mix_mode) == ("new.pth", "mixup")
    assert not any("/old/t.pth" in note for note in options.expanded.notes)
    with pytest.raises(SystemExit):
        parse_student(["--from_log", str(log)])
    assert f"the command was read from {log}; a flag beside" in capsys.readouterr().err


def test_a_script_of_several_lines_and_what_a_shell_does_with_it(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text("python train_student.py \\\n  --epochs 3 \\\n  --trial 2 > out.txt 2>&1 &\n")
    options = parse_student(["--from_log", str(path)])
    assert (options.epochs, options.trial) == (3, "2")


def test_what_is_unlike_then_is_listed_though_the_teacher_is_absent(tmp_path, capsys):
    log = write_log(tmp_path)
    with pytest.raises(SystemExit):
        run("train_student.py", f"--from_log {log} --dry_run --dataset synthetic --device cpu")
    out, error = capsys.readouterr()
    assert "unlike then: --lr_DA is not offered here" in out and "nor its last parts in" in out
    assert "--path_t /home/me" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [("--from {0}", "cannot be shortened"), ("--from_log {0} --from_log {0}", "given twice")],
)
def test_the_flag_is_given_once_and_whole(tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        parse_student(words.format(write_log(tmp_path)).split())


def test_another_version_and_a_second_command_are_told(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text(
        "python train_student.py --epochs 3\npython train_student.py --epochs 4\n"
        "[1 2 3] version 0.1, code x, python 3.9, torch 1.0, numpy 2\n"
    )
    options = parse_student(["--from_log", str(log)])
    told = from_log.differences(
        str(log), "train_student.py", options.expanded.notes, now=vars(options), found={}
    )
    assert "unlike then: version was 0.1, is " in "\n".join(told)
    assert "unlike then: torch was 1.0, is " in "\n".join(told)
    assert f"unlike then: the first of 2 commands in {log} is taken" in told
    assert options.epochs == 3


def test_a_folder_that_is_no_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"a folder without log/log.txt"):
        parse_student(["--from_log", str(tmp_path)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing here", "has no command of train_student.py"),
        ("python train_teacher.py --model vgg8", "is a log of train_teacher.py"),
        ("python train_student.py --note 'x", "cannot be read"),
        ("python train_student.py --from_log=x/log.txt --epochs 3", "is itself --from_log x/log"),
        (None, "No such file"),
    ],
)
def test_a_file_without_a_command_is_one_line(tmp_path, text, message):
    path = tmp_path / "log.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        parse_student(["--from_log", str(path)])


def test_a_run_of_our_own_again_gives_the_same_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = (
        "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 32 --limit_test 20 "
        "--device cpu"
    )
    words += " --model resnet8 --epochs 1 --batch_size 16"
    monkeypatch.setattr(sys, "argv", ["train_teacher.py", *words.split()])  # what log.txt shows
    first = new_run("train_teacher.py", words)
    run("train_teacher.py", f"--from_log {first} --dry_run")
    assert "is run again" in capsys.readouterr().out
    second = new_run("train_teacher.py", f"--from_log {first}")
    shown = [
        [line for line in log_lines(path) if line.startswith("Acc1")] for path in (first, second)
    ]
    assert shown[0] == shown[1] and len(shown[0]) == 1
    third = parse_teacher(["--from_log", str(second)])  # its log has the command spelled out
    assert (third.model, third.epochs, third.batch_size) == ("resnet8", 1, 16)
