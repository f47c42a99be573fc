"""The scripts that start runs: shell syntax, the choices, the printed commands."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from script_calls import check_refused

from distiller_zoo import Setting, distillers
from helper.cli.options import parse_student
from scripts import quickstart, recipe

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"


SHELL_SCRIPTS = sorted([*SCRIPTS.glob("*.sh"), *SCRIPTS.glob("*.sbatch")])
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]
SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
a_shell = pytest.mark.parametrize("shell", SHELLS)


@a_shell
@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_syntax(shell, script):
    assert subprocess.run([shell, "-n", script]).returncode == 0
    assert script.read_text().startswith("#!/bin/sh\n")


@pytest.mark.skipif(SHELLCHECK is None, reason="there is no shellcheck")
def test_shellcheck_has_no_complaint():
    result = subprocess.run([SHELLCHECK, *SHELL_SCRIPTS], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_published_sweep_lines_run_from_any_folder(tmp_path):
    """All four are the same but for their words, see test_sweep.py."""
    script = os.path.relpath(SCRIPTS / "S_test_loss_different_DA_cifar100.sh", tmp_path)
    result = subprocess.run(
        [SHELLS[0], script, "--print", "--trials", "1", "--pairs", "vgg13/vgg8"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
    )
    assert result.returncode == 0, result.stderr
    assert all("train_student.py" in line for line in result.stdout.splitlines())
    assert list(tmp_path.iterdir()) == []


def set_up_env(folder, shell, *words, conda='echo "conda $*" >> "$CALLS"'):
    """Runs the script with a conda that notes its calls, or with none.

    Returns (result, the calls).
    """
    programs = folder / "bin"
    programs.mkdir()
    for name in ("sh", "dash", "bash", "dirname"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    if conda:
        (programs / "conda").write_text(f"#!/bin/sh\n{conda}\n")
        (programs / "conda").chmod(0o755)
    calls = folder / "calls.txt"
    calls.touch()
    result = subprocess.run(
        [shell, SCRIPTS / "set_up_env.sh", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": str(programs), "CALLS": str(calls)},
    )
    return result, calls.read_text().splitlines()


@a_shell
@pytest.mark.parametrize(("asked", "made"), [("3.9.6", "3.10"), ("3.12", "3.12")])
def test_published_set_up_line_makes_a_conda_environment(tmp_path, shell, asked, made):
    absent = 'echo "conda $*" >> "$CALLS"; case $* in *--version) exit 1 ;; esac'
    words = ("Good-DA-in-KD", asked, "requirements.txt")
    result, calls = set_up_env(tmp_path, shell, *words, conda=absent)
    name = f"Good-DA-in-KD_Py{made}"
    assert result.returncode == 0, result.stderr
    assert f"conda create --yes --name {name} python={made}" in calls
    requirements = SCRIPTS.parent / "requirements.txt"
    assert calls[-1].startswith(f"conda run -n {name} python -m pip install")
    assert calls[-1].endswith(f"-r {SCRIPTS.parent}/requirements.txt") and requirements.exists()
    assert ("is too old" in result.stdout) == (asked != made)
    assert result.stdout.endswith(f"now: conda activate {name}\n")


def test_set_up_env_uses_the_environment_that_is_there(tmp_path):
    result, calls = set_up_env(tmp_path, "sh", "kd", "3.11", "requirements.txt")
    assert result.returncode == 0 and "is there already" in result.stdout
    assert not any("create" in call for call in calls)


@a_shell
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("kd",), "NAME PYTHON_VERSION REQUIREMENTS_FILE"),
        (("kd", "new", "requirements.txt"), "new is no version of Python"),
        (("kd", "3.11", "other.txt"), "there is no file other.txt"),
        (("kd", "3.11", "requirements.txt"), "there is no conda"),
    ],
)
def test_set_up_env_refuses_in_one_line(tmp_path, shell, words, message):
    result, _ = set_up_env(tmp_path, shell, *words, conda=None)
    assert result.returncode == 2 and message in result.stderr and result.stderr.count("\n") == 1


def interpreter(path, version):
    """A program that answers as a Python of this version does to set_up_env.sh."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return str(path)


@a_shell
@pytest.mark.parametrize(
    ("wanted", "message"),
    [("3.13.0", "with Python 3.11.7, not with 3.13.0"), (None, "there is no ")],
    ids=["another version", "no such file"],
)
def test_an_environment_of_another_python_than_asked_for_is_refused(
    tmp_path, shell, wanted, message
):
    interpreter(tmp_path / "env" / "bin" / "python", "3.11.7")
    asked = interpreter(tmp_path / "other", wanted) if wanted else str(tmp_path / "absent")
    result = subprocess.run(
        [shell, SCRIPTS / "set_up_env.sh"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "VENV": str(tmp_path / "env"), "PYTHON": asked},
    )
    assert result.returncode == 2 and message in result.stderr and result.stderr.count("\n") == 1


def test_quickstart_names_the_choices():
    check_refused(quickstart, "cifar1000", "cifar100,")


@a_shell
def test_quickstart_refuses_before_it_installs(tmp_path, shell):
    environment = {"PATH": os.environ["PATH"], "VENV": str(tmp_path / "env")}
    command = [shell, SCRIPTS / "quickstart.sh", "cifar1000"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 2 and not (tmp_path / "env").exists()
    assert "cifar1000" in result.stderr and result.stderr.count("\n") == 1
    assert all(name in result.stderr for name in quickstart.SCALES)


def printed_commands(*words, **variables):
    script = str(SCRIPTS / "distill_cifar100.sh")
    result = subprocess.run(
        ["sh", script, "--print", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHON": sys.executable, **variables},
    )
    return [shlex.split(line) for line in result.stdout.splitlines()]


@pytest.mark.slow
def test_distill_cifar100_prints_a_command_for_every_method():
    commands = printed_commands(TEACHER="vgg13", STUDENT="vgg8")
    names = []
    for program, script, *words in commands:
        assert (program, script) == ("python", "train_student.py")
        options = parse_student(words)
        names.append(options.distill)
        assert (
            options.path_t == "save/models/vgg13_vanilla/ckpt_epoch_240.pth"
            and options.model_s == "vgg8"
        )
    assert sorted(names) == sorted([*distillers, "kd+crd"])


@pytest.mark.parametrize(
    "pair, method, expected",
    [
        (
            "vgg13/vgg8",
            "kd",
            "-r 0.1 -a 0.9 -b 0 --learning_rate 0.05 --epochs 240 --batch_size 64",
        ),
        ("vgg13/vgg8", "ls", "-r 0.1 -a 9 -b 0 --learning_rate 0.05 --epochs 240 --batch_size 64"),
        (
            "resnet110/resnet20",
            "ls",
            "-r 0.1 -a 12 -b 0 --learning_rate 0.05 --epochs 240 --batch_size 64",
        ),
        (
            "vgg13/vgg8",
            "kd+crd",
            "-r 1 -a 1 -b 0.8 --learning_rate 0.05 --epochs 240 --batch_size 64",
        ),
        (
            "vgg13/vgg8",
            "crd+wttm",
            "-r 1 -a 4 -b 0.8 --learning_rate 0.05 --epochs 240 --batch_size 64",
        ),
        (
            "vgg13/vgg8",
            "crd:weight=2",
            "-r 1 -a 0 --learning_rate 0.05 --epochs 240 --batch_size 64",
        ),
        (
            "resnet56/resnet20",
            "review",
            "-r 1 -a 0 -b 0.6 --learning_rate 0.1 --epochs 240 --batch_size 128 --nesterov",
        ),
        (
            "wrn_40_2/ShuffleV1",
            "review",
            "-r 1 -a 0 -b 5 --learning_rate 0.02 --epochs 240 --batch_size 128 --nesterov",
        ),
    ],
)
def test_the_recipe_of_a_pair(pair, method, expected):
    assert " ".join(recipe.words(recipe.recipe(method, Setting(pair=pair)))) == expected


@pytest.mark.parametrize(
    "pair, method, expected",
    [
        ("vgg13/vgg8", "mlkd", ("0.9", 0.025, None)),
        ("ResNet50/MobileNetV2", "mlkd", ("0.9", 0.01, 2)),
        ("resnet32x4/ShuffleV2", "mlkd", ("0.9", 0.01, 4)),
        ("wrn_40_2/wrn_16_2", "mlkd_ls", ("9", 0.025, 2)),
        ("vgg13/vgg8", "mlkd_ls", ("6", 0.01, 2)),
        ("wrn_40_2/MobileNetV2", "mlkd_ls", ("9", 0.005, 2)),
        ("resnet32x4/ShuffleV2", "mlkd_ls", ("6", 0.01, 4)),
    ],
)
def test_the_recipes_of_two_views(pair, method, expected):
    flags = recipe.recipe(method, Setting(pair=pair))
    assert (flags["alpha"], flags["learning_rate"], flags.get("epoch_factor")) == expected
    options = parse_student(recipe.words(flags))
    assert options.lw_mix == (1, 0, 1) and options.mix_mode.startswith("randaugment:")


@pytest.mark.slow
def test_distill_cifar100_passes_words_on():
    words = ["--project", 'it\'s "new"', "--lw_mix", "[1,0,1]"]
    (first, second) = printed_commands("crd", "ls", "--", *words)
    assert first[-4:] == second[-4:] == words
    assert "crd" in first and "ls" in second


# --- scripts/sweep.sbatch, without Slurm ----------------------------------------------------------

RUN = r"""#!/usr/bin/env bash
# In place of python scripts/sweep_line.py: says what it was called with, and ends as told.
echo "run $* OMP=$OMP_NUM_THREADS" >> calls.txt
trap 'echo run TERM >> calls.txt; exit ${ON_TERM:-143}' TERM
touch running
for ((i = 0; i < ${SECONDS_TIMES_50:-0}; i++)); do sleep 0.02; done
exit ${STATUS:-0}
"""
SLURM = {
    "scontrol": 'echo "scontrol $*" >> calls.txt; exit ${SCONTROL:-0}',
    "squeue": 'echo "squeue $*" >> calls.txt; echo "${STATE-RUNNING None}"',
}


def start_task(folder, *arguments, **variables):
    """A task of the array, in a process group of its own, as Slurm starts it: from a copy of the
    script."""
    for name, text in {
        "stub": RUN,
        **{k: f"#!/usr/bin/env bash\n{v}\n" for k, v in SLURM.items()},
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "elsewhere").mkdir()
    copy = folder / "elsewhere" / "slurm_script"
    copy.write_bytes((SCRIPTS / "sweep.sbatch").read_bytes())
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "OMP_"))
    }
    environment |= {
        "PATH": f"{folder}:{environment['PATH']}", "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "73",
        "SLURM_CPUS_PER_TASK": "4", "PYTHON": str(folder / "stub"),
    }  # fmt: skip
    return subprocess.Popen(
        ["sh", str(copy), *arguments],
        cwd=folder / "elsewhere",
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def calls(folder):
    return (folder / "calls.txt").read_text().splitlines()


RUN_LINE = "run scripts/sweep_line.py commands.txt 3 OMP=4"
LOOK, REQUEUE = "squeue --noheader --array --jobs=70_3 --format=%T %r", "scontrol requeue 70_3"


@pytest.mark.parametrize("status", [0, 1, 2, 130, 137])
def test_a_task_that_ends_by_itself_is_not_requeued(tmp_path, status):
    task = start_task(tmp_path, "commands.txt", STATUS=str(status))
    output, _ = task.communicate(timeout=30)
    assert task.returncode == status and f"status {status}" in output
    assert calls(tmp_path) == [RUN_LINE]


def tell(task, folder, *signals):
    """Signals, each ("task", number) to the script alone or ("all", number), when the run is on."""
    stop = time.monotonic() + 30
    while not (folder / "running").exists():
        assert time.monotonic() < stop and task.poll() is None
        time.sleep(0.01)
    for to, number in signals:
        (os.killpg if to == "all" else os.kill)(task.pid, number)
        time.sleep(0.1)
    return task.communicate(timeout=30)[0]


def test_ahead_of_the_time_limit_the_run_is_told_once_and_the_task_requeued(tmp_path):
    task = start_task(tmp_path, "commands.txt", SECONDS_TIMES_50="500")
    output = tell(task, tmp_path, ("task", signal.SIGUSR1))
    assert task.returncode == 143 and "interrupted (USR1), returns to the queue" in output
    assert calls(tmp_path) == [RUN_LINE, "run TERM", LOOK, REQUEUE]


def test_what_slurm_tells_everyone_is_not_passed_on_and_left_to_slurm(tmp_path):
    """A preemption, or scancel: requeueing here would bring a cancelled task back."""
    task = start_task(tmp_path, "commands.txt", SECONDS_TIMES_50="500", STATE="COMPLETING None")
    output = tell(task, tmp_path, ("all", signal.SIGCONT), ("all", signal.SIGTERM))
    assert task.returncode == 143 and "Slurm decides" in output
    assert calls(tmp_path) == [RUN_LINE, "run TERM", LOOK]


@pytest.mark.parametrize(
    ("variables", "signals", "is_requeued"),
    [
        ({"ON_TERM": "1"}, [("task", signal.SIGUSR1)], True),  # torchrun's status
        ({"ON_TERM": "0"}, [("task", signal.SIGUSR1)], False),  # it was just done
        ({"SECONDS_TIMES_50": "20", "STATUS": "143"}, [], True),  # someone stopped the run itself
        (
            {"SECONDS_TIMES_50": "20", "STATUS": "0"},
            [("task", signal.SIGCONT)],
            False,
        ),  # it had been suspended
        ({"SLURM_RESTART_COUNT": "2", "RESTARTS": "2"}, [("task", signal.SIGUSR1)], False),
        ({"SCONTROL": "1"}, [("task", signal.SIGUSR1)], True),
        ({"STATE": ""}, [("task", signal.SIGUSR1)], False),
        (
            {"STATE": "COMPLETING TimeLimit"},
            [("all", signal.SIGTERM)],
            True,
        ),  # without a USR1 ahead
    ],
)
def test_when_a_task_is_requeued(tmp_path, variables, signals, is_requeued):
    task = start_task(tmp_path, "commands.txt", **{"SECONDS_TIMES_50": "500"} | variables)
    output = tell(task, tmp_path, *signals)
    assert (calls(tmp_path)[-1] == REQUEUE) == is_requeued, output
    is_done = "0" in (variables.get("STATUS"), variables.get("ON_TERM"))
    assert task.returncode == (0 if is_done else 143)
    if "SCONTROL" in variables:
        assert "Slurm refused" in output


@pytest.mark.parametrize(("words", "unset"), [([], ""), (["commands.txt"], "SLURM_ARRAY_TASK_ID")])
def test_a_task_without_its_array_or_its_file_says_how_to_submit(tmp_path, words, unset):
    task = start_task(tmp_path, *words, **({unset: ""} if unset else {}))
    output, _ = task.communicate(timeout=30)
    assert (
        task.returncode not in (0, 143)
        and "sbatch --array=1-N scripts/sweep.sbatch COMMANDS" in output
    )
