"""The text of --help, and its cost."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from places import ROOT
from refusals import refused

from distiller_zoo import Target
from helper.cli import short_help
from helper.cli.flags import student_parser, teacher_parser
from helper.cli.options import parse_student
from helper.cli.schedule import RateSchedule
from helper.errors import UserError
from helper.setup.optimisation import loop_settings, make_optimizer
from helper.setup.plan import describe_rate
from helper.step.distill import cross_entropy
from scripts.rank.command_line import DEFAULT_BUDGET
from scripts.rank.command_line import parser as rank_parser
from scripts.results.command_line import paths_parser

# --- Help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [student_parser, teacher_parser])
def test_help_shows_every_flag_in_a_group(make):
    parser = make()
    text = parser.format_help()
    hidden = {"--screen_print", "--model_path", "--tb_path", "--utils.check_ce_var_trainset_size"}
    if make is teacher_parser:
        hidden.remove("--model_path")
    shown = text[text.index("\n\n") :]  # below the usage line
    for flag in parser.flags.keys() - {"--help"}:
        is_shown = re.search(rf"{re.escape(flag)}[ ,\n]", shown) is not None
        assert is_shown == (flag not in hidden), flag
    for section in (
        "network",
        "data",
        "optimisation",
        "machine and seed",
        "logging",
        "second view",
    ):
        assert f"\n{section}" in shown
    assert max(map(len, shown.splitlines())) < 140


SHORT = [student_parser, teacher_parser, rank_parser]


@pytest.mark.parametrize("make", SHORT)
def test_help_has_a_short_and_a_long_text(capsys, make):
    shown = {}
    for words in (["--help"], ["-h"], ["--seed", "3", "--help"], ["--help", "all"]):
        with pytest.raises(SystemExit) as stopped:
            make().parse(words)
        assert stopped.value.code == 0
        shown[" ".join(words)] = capsys.readouterr().out
    full = shown.pop("--help all")
    assert set(shown.values()) == {short_help.TEXTS[make().prog]}
    assert "--num_workers" in full and "example" in full
    with pytest.raises(SystemExit):
        make().parse(["--help", "lots"])
    assert "'lots'" in capsys.readouterr().err


@pytest.mark.parametrize("make", SHORT)
def test_the_short_help_is_true(make):
    parser = make()
    text = short_help.TEXTS[parser.prog]
    elsewhere = {"--budget": str(DEFAULT_BUDGET), "--output": "ranking_TEACHER_DATASET.csv"}
    elsewhere["--data_root"] = student_parser().get_default("data_root")
    for line in text.splitlines():
        if match := re.match(r"  (--?\w+)(?: (\S+))?(?:  |$)", line):
            action = parser._option_string_actions[match[1]]
            assert match[2] in (action.metavar, None, "same", "all"), line
            if default := re.search(r"\(default: ([\w.,]+)", line):
                value = action.default
                value = ",".join(map(str, value)) if isinstance(value, list) else value
                assert default[1] in (str(value), "none", "0.05", elsewhere.get(match[1])), line
    assert max(map(len, text.splitlines())) < 112


@pytest.mark.parametrize("script", ["train_student.py", "scripts/rank_augmentations.py"])
def test_the_short_help_does_not_wait_for_pytorch(script):
    words = [sys.executable, "-X", "importtime", ROOT / script, "-h"]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stdout == short_help.TEXTS[Path(script).name]
    assert "helper.cli.short_help" in ended.stderr and "torch" not in ended.stderr


def test_cosine_and_warm_up_of_the_rate():
    def rates(**given):
        schedule = RateSchedule(0.8, 6, **given)
        return [schedule.at(epoch) for epoch in range(1, 7)]

    half = [
        0.8 * (1 + math.cos(math.pi * part)) / 2 for part in (0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6)
    ]
    assert rates(kind="cosine") == pytest.approx(half)
    assert rates(kind="cosine", warmup_epochs=2) == pytest.approx(
        [0.4, 0.8, *(0.8 * (1 + math.cos(math.pi * part)) / 2 for part in (0, 1 / 4, 1 / 2, 3 / 4))]
    )
    assert rates(decay_epochs=[2, 4], decay_rate=0.5) == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    steps = rates(decay_epochs=[2, 4], decay_rate=0.5, warmup_epochs=4)
    assert steps == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.2, 0.2])


def test_flags_of_the_optimizer_reach_it():
    layer = torch.nn.Linear(1, 1)
    for words, nesterov in (("", False), ("--nesterov", True)):
        options = parse_student(words.split())
        assert make_optimizer(options, layer).defaults["nesterov"] is nesterov
    options = parse_student("--lr_schedule cosine --warmup_epochs 4 --epochs 8".split())
    rate = loop_settings(options).learning_rate
    assert [rate(4), rate(5), rate(7)] == pytest.approx([0.05, 0.05, 0.025])
    assert "cosine after 4 epochs of warm-up" in describe_rate(options)


def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(UserError, match="--warmup_epochs 8 leaves none of 8 epochs"):
        parse_student("--warmup_epochs 8 --epochs 8".split())


def test_label_smoothing_is_the_formula():
    """E of the label's probability is spread over all classes; mixed labels share it."""
    logits, labels = (
        torch.randn(3, 5, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0, 2, 4]),
    )
    partner, lam = torch.tensor([1, 1, 3]), torch.tensor([0.25, 1.0, 0.5])
    target = (
        0.9 * (lam[:, None] * F.one_hot(labels, 5) + (1 - lam)[:, None] * F.one_hot(partner, 5))
        + 0.1 / 5
    )
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    loss = cross_entropy(logits, Target(labels, partner, lam), label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--only_test", "scripts/evaluate.py FILE"),
        ("--gpu", "CUDA_VISIBLE_DEVICES"),
        ("--cosine", "--lr_schedule"),
        ("--lr", "--learning_rate"),
        ("--label_smoothing", None),
        ("--zebra", None),
    ],
)
def test_a_hint_is_right_or_absent(capsys, flag, hint):
    line = refused(capsys, parse_student, f"{flag} 1")
    known = [word for word in line.split() if word.startswith("--") and word != flag]
    assert (hint in line) if hint else not known, line


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda:1", "CUDA_VISIBLE_DEVICES=1"),
        ("mps", "--device cpu"),
        ("gpu", "Choices: auto, cpu, cuda"),
    ],
)
def test_a_device_that_is_not_offered_says_what_to_do(capsys, name, message):
    assert message in refused(capsys, parse_student, f"--device {name}")


def test_what_is_missing_is_told_with_what_to_type(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scripts/x.py"])
    line = refused(capsys, rank_parser().parse, "cutmix")
    assert "error: --path_t FILE is missing: type python scripts/x.py --path_t FILE" in line
    line = refused(capsys, paths_parser("x.py", "Text.").parse, "")
    assert "error: PATH is missing: type python scripts/x.py PATH" in line


def test_every_path_expands_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for parser in (student_parser(), teacher_parser(), rank_parser()):
        kinds = ("FILE", "DIR", "FILE.py", "FILE.csv", "FILE.json")
        actions = [a for a in parser._actions if a.metavar in kinds and a.nargs is None]
        assert len(actions) >= 4
        for action in actions:
            needed = ["--path_t", "x"] if parser.prog.startswith("rank") else []
            options = parser.parse([*needed, f"{action.option_strings[-1]}=~/x"])
            values = getattr(options, action.dest)
            assert values in ("/home/me/x", ["/home/me/x"]), action.dest


def test_every_path_of_a_script_expands_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    parser = paths_parser("report.py", "Text.")
    parser.section("pictures")("--preview", type=Path, action="append", metavar="FILE")
    options = parser.parse(["~/runs", "log.txt", "--preview=~/p.png"])
    assert options.paths == [Path("/home/me/runs"), Path("log.txt")]
    assert options.preview == [Path("/home/me/p.png")]
