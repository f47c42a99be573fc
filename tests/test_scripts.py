"""The scripts that start runs: shell syntax, the choices, the printed commands."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from distiller_zoo import FeatureDistiller, distillers
from helper.options import parse_student

SCRIPTS = Path(__file__).parent.parent / "scripts"


def call(script, *arguments):
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.name)
def test_shell_syntax(script):
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_quickstart_names_the_choices():
    result = call("quickstart.py", "cifar1000")
    assert result.returncode == 2 and "cifar100" in result.stderr and "Traceback" not in result.stderr


def printed_commands(*words, **variables):
    script = str(SCRIPTS / "distill_cifar100.sh")
    result = subprocess.run(
        ["bash", script, "--print", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **variables},
    )
    return [shlex.split(line) for line in result.stdout.splitlines()]


def test_distill_cifar100_prints_a_command_for_every_method():
    commands = printed_commands(TEACHER="vgg13", STUDENT="vgg8")
    names = []
    for program, script, *words in commands:
        assert (program, script) == ("python", "train_student.py")
        options = parse_student(words)
        names.append(options.distill)
        assert options.path_t == "save/models/vgg13_vanilla/ckpt_epoch_240.pth" and options.model_s == "vgg8"
    assert sorted(names) == sorted([*distillers, "kd+crd"])


def test_distill_cifar100_gives_the_published_weights():
    """What the script spells out is what the program takes by itself, but for kd, whose paper has -r 0.1."""
    for _, _, *words in printed_commands():
        options = parse_student(words)
        for name in options.distill.split("+"):
            is_feature = issubclass(distillers[name], FeatureDistiller)
            given = options.beta if is_feature else options.alpha
            if name != "kd" and given is not None:
                assert given == distillers[name].default_weight, name
        if options.gamma is not None and options.distill != "kd":
            assert options.gamma == min(distillers[n].default_gamma for n in options.distill.split("+"))


def test_distill_cifar100_passes_words_on():
    (first, second) = printed_commands("crd", "ls", "--", "--trial", "2", "--lw_mix", "[1,0,1]")
    assert first[-4:] == second[-4:] == ["--trial", "2", "--lw_mix", "[1,0,1]"]
    assert "crd" in first and "ls" in second
