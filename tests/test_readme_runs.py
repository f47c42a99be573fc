"""Every command of the pages runs, in a small form.

Their Python examples run in test_readme.py, helper/cli/test_plugins.py and
helper/step/test_ranking.py.
"""

import re
import subprocess

import pytest
from pages import NOT_RUN, PAGES, commands, examples, flag_lines, is_run, script_and_words, text_of
from small_commands import make_place, run

pytestmark = pytest.mark.slow

DISTIL = (
    "--path_t FILE --model_s resnet8 --distill kd --lw_mix [1,0,1] --mix_mode cutmix "
    "--t_output_as_target_for_input_mix"
).split()
"""The command that lines of flags alone are added to."""


def commands_to_run():
    """{page: its commands}; one that stands on several pages runs on the first of them."""
    seen, found = set(), {}
    for page in PAGES:
        for words in filter(is_run, commands(page)):
            if " ".join(words) not in seen:
                seen.add(" ".join(words))
                found.setdefault(page, []).append(words)
        for words in flag_lines(page):
            found.setdefault(page, []).append(["python", "train_student.py", *DISTIL, *words])
    return found


COMMANDS = commands_to_run()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    make_place(folder)
    check(["python", *"scripts/rank_augmentations.py cutmix --path_t FILE".split(),
           "--json", "ranking.json"], folder)  # fmt: skip
    return folder


def check(words, place):
    """The command ends well. Its output goes where `>` says."""
    script, rest = script_and_words(words)
    if script is None:
        end = subprocess.run(words[: words.index(">")], cwd=place, capture_output=True, text=True)
        status, output, errors = end.returncode, end.stdout, end.stderr
    else:
        status, output, errors = run(script, rest, place)
    assert status == 0, f"{' '.join(words)}\n{errors}"
    if ">" in words:
        (place / words[-1]).write_text(output)


@pytest.mark.parametrize("page", COMMANDS, ids=str)
def test_the_commands_of_a_page_run(page, place):
    for words in COMMANDS[page]:
        check(words, place)


def useful_flags():
    """{what one wants: flags} of the table on the front page."""
    table = text_of("README.md").partition("## Useful at once")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| (.*?) \| (?:the command and )?`(--[^`]+)`", table, re.MULTILINE))


@pytest.mark.parametrize("flags", useful_flags().values(), ids=useful_flags())
def test_the_useful_flags_run(flags, place):
    base = ["train_student.py", *DISTIL]
    if "--dataset" in flags:
        base = ["train_teacher.py", "--model", "resnet8"]  # the teacher in FILE is of CIFAR-100
    if "<run>" in flags:
        check(["python", *base, "--project", "again"], place)
        (before,) = (place / "Experiments").glob("again_*")
        base, flags = ["train_student.py"], flags.replace("<run>", before.name)
    (place / "my_loss.py").write_text(next(code for code in examples() if '"mse"' in code))
    check(["python", *base, *flags.split()], place)


def test_what_does_not_run_is_still_there():
    lines = [" ".join(words) for page in PAGES for words in commands(page)]
    assert [begin for begin in NOT_RUN if not any(line.startswith(begin) for line in lines)] == []
    assert len(useful_flags()) >= 9
