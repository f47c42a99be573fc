"""The pages of the project, and the commands and examples in them."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

from places import ROOT

PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "*/README.md", "*/*/*.md", ".github/*.md")
    for path in ROOT.glob(pattern)
    if not {".venv", "golden", "node_modules", ".pytest_cache"} & set(path.parts)
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAMS = "python sh torchrun sbatch git pip pre-commit sed nvidia-cuda-mps-control .".split()
WITHIN = re.compile(r"\b(?:python|torchrun) [^|:)\"'`]*")
"""A command within a line of the shell: `eval "$(python ...)"`, `seq ... | xargs python ...`."""

NOT_RUN = {
    "sh scripts/test.sh": "these are the tests",
    "sh scripts/quickstart.sh cifar100": "as without cifar100, but for the data",
    "sh scripts/set_up_env.sh": "downloads; scripts/test_shell_scripts.py has it with fakes",
    "sh scripts/set_up_pretrained_models.sh": "downloads; scripts/test_teacher_archives.py",
    "git clone": "the network",
    "pip install": "the network",
    ".venv/bin/python -m pip": "the network",
    ". .venv/bin/activate": "the network",
    ".venv/bin/ruff": "a check of the code; .ci/run has it",
    ".venv/bin/pyright": "a check of the code; .ci/run has it",
    "python train_teacher.py --model timm.": "downloads weights",
    "python train_student.py --model_s timm.": "its teacher is one that is downloaded",
    "python train_student.py --list": "seconds, for the sizes of networks; test_cli_flags.py",
    "python train_student.py ...": "no command but the form of one",
    "torchrun": "several processes; helper/processes/test_distributed.py",
    "sbatch": "a cluster; scripts/test_shell_scripts.py",
    "nvidia-cuda-mps-control": "a GPU",
    "python scripts/measured/analyse.py": "many seconds; scripts/test_measured.py has its rules",
    "python scripts/benchmark.py": "half a minute each; scripts/test_benchmark.py has a small one",
    "sh tests/two_hosts.sh": "root, and minutes",
    "sh tests/slurm_trial.sh": "root, and minutes",
    "sh tests/soak.sh": "hours",
}
"""How the commands begin that cannot run in a test, and why; test_readme.py parses them."""


def is_run(words):
    return not " ".join(words).startswith(tuple(NOT_RUN))


EXAMPLE_OF = {"NAME": "resnet8", "{}": "1"}
"""Words that stand for any of a kind."""


def text_of(page):
    return (ROOT / page).read_text()


def block_lines(page):
    """The lines in fences without a language and in indented blocks; a broken line is one."""
    text = text_of(page)
    blocks = [body for word, body in FENCE.findall(text) if word in ("", "sh", "bash")]
    blocks += re.findall(r"(?:^ {4,}\S.*\n)+", FENCE.sub("", text), re.MULTILINE)
    return re.sub(r" *\\\n *", " ", "\n".join(blocks)).splitlines()


def words_of(line):
    return shlex.split(re.sub(r"\s#\s.*", "", line))


def commands(page):
    """The command lines of a page, as words: in fences, in indented blocks, in backticks."""
    prose = FENCE.sub("", text_of(page))
    lines = block_lines(page)
    lines += [
        line.replace("\n", " ") for line in re.findall(r"`((?:python|sh|torchrun) [^`]+)`", prose)
    ]
    for line in lines:
        first, _, rest = line.strip().partition(" ")
        if first in PROGRAMS or first.startswith(".venv/bin/"):
            yield words_of(line)
        elif first in ("eval", "seq", "parallel") or first.startswith("PYTHONPATH="):
            yield from map(words_of, WITHIN.findall(rest))


def flag_lines(page):
    """Lines of blocks that begin with a flag: words for a command that stands elsewhere."""
    for line in block_lines(page):
        if line.strip().startswith("--"):
            yield re.split(r"\s{2,}", line.strip())[0].split()


def examples():
    """The Python examples of all pages."""
    return [
        code for page in PAGES for word, code in FENCE.findall(text_of(page)) if word == "python"
    ]


def script_and_words(words):
    """("scripts/x.py", its arguments) of a command; what a shell would take is left out."""
    place = next((n for n, word in enumerate(words) if word.endswith((".py", ".sh"))), None)
    if place is None:
        return None, []
    rest = [word for word in words[place + 1 :] if word != "..."]
    end = next(
        (n for n, word in enumerate(rest) if word in ("|", ">", "&&", "[--figure")), len(rest)
    )
    return words[place], [EXAMPLE_OF.get(word, word) for word in rest[:end]]


def module_of(script):
    """A file loaded by its path: a folder may have the same name."""
    spec = importlib.util.spec_from_file_location(f"page_{Path(script).stem}", ROOT / script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
