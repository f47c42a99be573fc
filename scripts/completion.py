#!/usr/bin/env python3
"""Completion of flags and names in bash and zsh, for the two training scripts and the ranking.

    eval "$(python scripts/completion.py bash)"      # zsh in zsh

To keep it, put the line into ~/.bashrc or ~/.zshrc. Then TAB completes after
`python train_student.py --mix_mode cut`. Needs shtab: pip install shtab.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.errors import UserError, one_line_errors
from augment import mix_modes, pick_criteria
from augment.draws import draw_box
from dataset import datasets
from distiller_zoo import distillers
from helper.cli.flags import student_parser, teacher_parser
from helper.cli.parser import OptionParser, one_of
from helper.cli.plugins import load_plugins
from models import model_dict
from scripts.rank.command_line import parser as rank_parser

PROGRAM = "completion.py"
NAMES = {
    "distill": distillers, "mix_mode": mix_modes, "schemes": mix_modes,
    "cutmix_pick_criterion": pick_criteria, "dataset": datasets, "bbox": draw_box,
    "model": model_dict, "model_s": model_dict, "model_t": model_dict,
    "device": ("auto", "cpu", "cuda"), "mix_draw": ("batch", "sample"),
    "feature_views": ("first", "both"),
    "resume_ExpID": ("same", "latest"), "help": ("all",),
}  # fmt: skip
"""Options -> the words that complete them."""

# The word that is typed is `python`, so its completion is what has to know our scripts.
BASH = """
_data_aug_kd() {
  local script=${COMP_WORDS[1]##*/} function
  function=_shtab_${script//./_}
  if [[ $script == *.py ]] && declare -F "$function" >/dev/null; then
    COMP_WORDS=("${COMP_WORDS[@]:1}") COMP_CWORD=$((COMP_CWORD - 1))
    COMP_LINE=${COMP_WORDS[*]} COMP_POINT=${#COMP_LINE}
    "$function" "$script" "$2" "$3"
  fi
}
complete -o default -o bashdefault -F _data_aug_kd python python3
"""
ZSH = """
_data_aug_kd() {
  local script=${words[2]:t}
  local function=_shtab_${script//./_}
  if [[ $script == *.py ]] && (( CURRENT > 2 && $+functions[$function] )); then
    shift words; (( CURRENT-- )); $function
  else
    _python 2>/dev/null || _files
  fi
}
compdef _data_aug_kd python python3
"""
WRAPPERS = {"bash": BASH, "zsh": ZSH}

# shtab's text needs compdef, and registers itself only inside an eval: in a file that is sourced it
# would call _arguments at once.
ZSH_PARTS = """
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -u }}
eval "$(cat <<'DATA_AUG_KD'
{parts}
DATA_AUG_KD
)"
"""


def completable(parser: OptionParser, files: Any, folders: Any) -> OptionParser:
    """The parser with what completes each option. It is not to parse with any more."""
    for action in parser._actions:
        if action.dest in NAMES:
            action.choices = list(NAMES[action.dest])
        elif action.metavar in ("FILE", "DIR", "FILE.py"):
            action.complete = folders if action.metavar == "DIR" else files  # type: ignore[attr-defined]
    return parser


def script(shell: str) -> str:
    """The script that the shell has to run. UserError without shtab."""
    try:
        import shtab
    except ImportError:
        raise UserError(f"shtab is missing: type {sys.executable} -m pip install shtab") from None
    parts = [
        shtab.complete(completable(make(), shtab.FILE, shtab.DIRECTORY), shell)
        for make in (student_parser, teacher_parser, rank_parser)
    ]
    joined = "\n".join(parts)
    return (ZSH_PARTS.format(parts=joined) if shell == "zsh" else joined) + WRAPPERS[shell]


def main(argv: Sequence[str]) -> None:
    load_plugins()
    parser = OptionParser(prog=PROGRAM, description=__doc__)
    parser.add_argument(
        "shell", type=one_of("shell", WRAPPERS), metavar="SHELL", help="bash or zsh"
    )
    print(script(parser.parse(argv).shell))


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        main(sys.argv[1:])
