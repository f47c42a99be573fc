"""Logs of the original program are read as this project's are."""

import math

import pytest
from fake_runs import (
    COMMAND,
    STAMP,
    check_line,
    epoch,
    epoch_line,
    log_head,
    options_of,
    read_one,
    write_log,
    write_run,
)
from script_calls import call

from scripts import collect_results, plot_correlation, report
from scripts.results import groups as results
from scripts.results import option_list

# --- the original's logs ---


@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("place", ["run/log/log.txt", "run/log.txt", "kept_log.txt"])
def test_log_of_the_original(tmp_path, place, quoted):
    options = options_of("cutmix", epochs=2, model_t="vgg13") | {
        "CodeID": "12defsd2",
        "note": "a (b) 'c'",
    }
    text = (
        log_head(options, COMMAND, quoted) + epoch_line(1, 2.0, 30.0) + epoch_line(2, 1.0862, 74.16)
    )
    path = write_log(tmp_path / place, text)
    run = read_one(path if place == "kept_log.txt" else tmp_path)
    assert run.key == ("cifar100", "vgg13", "vgg8", "kd", "cutmix")
    assert run.problem == "" and run.values == {"s_test_loss": 1.0862, "s_acc1": 74.16}
    assert run.curve == {1: (30.0, 2.0), 2: (74.16, 1.0862)} and run.commands == [COMMAND]


def pass_log(steps_done, epochs=2, steps=782):
    text = log_head(options_of("mixup", fix_student=True, epochs=epochs), COMMAND, quoted=False)
    for group in range(1, steps_done // 5 + 1):
        number, step = divmod(group * 5 - 1, steps)
        text += check_line(group, number + 1, step, group * 5 - 1, 0.005 + group * 1e-6)
    return text


def test_t_stddev_pass_of_the_original(tmp_path):
    run = read_one(write_log(tmp_path / "log.txt", pass_log(2 * 782)))
    assert run.measures and run.values == {"t_stddev": pytest.approx(0.005312)}
    run = read_one(write_log(tmp_path / "log.txt", pass_log(2 * 782 - 10)))
    assert run.problem == "T. stddev pass, epoch 2 of 2" and not run.values
    run = read_one(write_log(tmp_path / "log.txt", pass_log(700)))
    assert run.problem == "T. stddev pass, epoch 1 of 2"


def test_our_log_alone_is_read_like_the_originals(tmp_path):
    text = (
        pass_log(100)
        + f"{STAMP} Summary: vgg13 on x, mixup: T. stddev 0.0049, entropy 0.4 (2 epochs, 1 s)\n"
    )
    assert read_one(write_log(tmp_path / "log.txt", text)).values == {"t_stddev": 0.0049}


@pytest.mark.parametrize(
    "listed,command,expected",
    [(240, "", 960), (960, "", 960), (60, "--epochs 60", 240), (60, "--epochs 15", 60)],
)
def test_epoch_factor_of_the_original(tmp_path, listed, command, expected):
    """Its list of options may show the epochs before or after they were multiplied."""
    text = log_head(
        options_of(epochs=listed, epoch_factor=4.0), f"{COMMAND} {command}", quoted=False
    )
    run = read_one(write_log(tmp_path / "log.txt", text + epoch_line(1, 1, 1)))
    assert run.problem == f"epoch 1 of {expected}"


def test_a_log_that_two_processes_share_is_not_counted(tmp_path):
    other = STAMP.replace("4711", "4712")
    lines = [
        epoch_line(1, 1, 1),
        epoch_line(1, 1, 1, other),
        epoch_line(2, 1, 1),
        epoch_line(2, 1, 1, other),
    ]
    run = read_one(write_log(tmp_path / "log.txt", log_head(options_of()) + "".join(lines)))
    assert "two processes" in run.problem and not run.values


def test_command_with_a_line_end_and_resumed(tmp_path):
    text = log_head(options_of(), "python train_student.py --note 'one\ntwo'")
    text += f"{STAMP} resumed: python train_student.py --resume_ExpID latest\n"
    assert read_one(write_log(tmp_path / "log.txt", text)).commands == [
        "python train_student.py --note 'one\ntwo'",
        "python train_student.py --resume_ExpID latest",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        "a, 'b') ('c': 1) (",
        'quote " and \\ and \n',
        "",
        "None",
        -1.5,
        1e-05,
        None,
        True,
        [1.0, 0.0, 1.0],
        "$(rm -rf x)",
    ],
)
def test_list_of_options_is_read_back(value):
    text = f"('a': 1) ('b': {value!r}) ('c': x/y z.pth)  ('d': (1, 2)) "
    options = option_list.parse_options(text)
    assert options == {"a": 1, "b": value, "c": "x/y z.pth", "d": [1, 2]}


BROKEN = {
    "cut off": "('alpha': 0.9) ('beta': 0.",
    "quote": "('alpha': 'x) ('beta': 1)",
    "no list": "hello",
    "epochs": "('epochs': many) ('model_s': vgg8)",
    "deep": f"('alpha': {'[' * 5000}) ('model_s': vgg8)",
    "code": "('epochs': __import__('os').abort()) ('model_s': vgg8)",
    "minus": f"('epochs': [{'-' * 50000}1]) ('model_s': vgg8)",
    "garbage": bytes(range(256)) * 50,
    "huge line": b"('" + b"x" * 5_000_000,
    "nothing": "",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_log_is_named_and_the_others_are_counted(runs, content):
    write_log(runs / "broken/log/log.txt", content)
    found = results.load([runs])
    assert [(path.name, bool(reason)) for path, reason in found.skipped] == [("broken", True)]
    assert len(found.rows) == 2 and "broken" in "\n".join(found.remarks())


def test_broken_lines_are_passed_over(tmp_path):
    good = log_head(options_of()) + epoch_line(1, 2.0, 30.0)
    for noise in (
        b"\xff\x00\xfe\n",
        b"x" * 3_000_000 + b"\n",
        b"Acc1 7 Acc5 9 TestLoss 1 Epoch 2\n",
        b'{"kind": "ep',
    ):
        run = read_one(write_log(tmp_path / "log.txt", good.encode() + noise))
        assert run.problem == "epoch 1 of 2"
    text = good.encode() + noise + b"\n" + epoch_line(2, math.nan, 40.0).encode()
    assert "not a number" in read_one(write_log(tmp_path / "log.txt", text)).problem


@pytest.mark.parametrize("name", ["args.json", "metrics.jsonl"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"[" * 10**5, b"[1]", b'{"kind": "job", "epochs": "x"}\n3\n']
)
def test_damaged_run_folder_falls_back_on_its_log(tmp_path, name, content):
    write_run(tmp_path / "a", options_of(), [epoch(2, 1.0, 70.0)], COMMAND)
    with open(tmp_path / "a/log/log.txt", "a") as file:
        file.write(epoch_line(2, 1.5, 71.0))
    write_log(tmp_path / "a/log" / name, content)
    run = read_one(tmp_path / "a")
    assert run.key.teacher == "vgg13" and run.values == {"s_test_loss": 1.5, "s_acc1": 71.0}


@pytest.mark.parametrize("script", [collect_results, plot_correlation, report])
def test_nothing_to_read_is_one_line(tmp_path, script):
    write_log(tmp_path / "broken/log.txt", "('epochs': ")
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "broken", "none/"):
        arguments = [tmp_path / folder] if folder != "none/" else [tmp_path / "none", "--json"]
        if script is not plot_correlation:
            arguments = arguments[:1]
        result = call(script, *arguments)
        assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
        assert str(tmp_path) in result.stderr and "error:" in result.stderr
