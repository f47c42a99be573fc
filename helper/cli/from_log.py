"""`--from_log FILE`: the command at the head of a log.txt, of this system or the original's, is run
again here."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from helper.cli.parser import OptionParser
from helper.errors import UserError

FLAG = "--from_log"
HEAD_LINES = 20
PLACES = (".", "save", "save/models", "data")
"""Folders in which a path of another machine is looked for by its last parts."""
DROPPED = ("--resume", "--resume_student", "--resume_ExpID", "--dry_run", "--list", FLAG)
"""Flags of a logged command that do not belong to running it again."""
OF_NOW = frozenset(
    "from_log dry_run resume resume_student resume_ExpID seed_is_drawn cache_dir data_root path_t"
    " model_path".split()
)
"""Options that may well differ, or are listed as paths."""


class Logged(NamedTuple):
    """The head of a log."""

    words: list[str]
    """The command's, after its script's name."""
    options: dict[str, str]
    """Every option, as its value's text in Python."""


def path_in(argv: Sequence[str]) -> str | None:
    """The FILE of --from_log in a command; None if it is not given."""
    for place, word in enumerate(argv):
        if word == FLAG and place + 1 < len(argv):
            return argv[place + 1]
        if word.startswith(f"{FLAG}="):
            return word.partition("=")[2]
    return None


def read_head(path: str, program: str) -> Logged:
    """UserError if the file holds no command of `program`."""
    file = Path(path).expanduser()
    file = file / "log" / "log.txt" if file.is_dir() else file
    try:
        with open(file, encoding="utf-8", errors="replace") as text:
            lines = [text.readline(100_000).rstrip("\n") for _ in range(HEAD_LINES)]
    except OSError as error:
        raise UserError(f"{FLAG} {path}: {error.strerror}") from None
    for line in lines:
        if match := re.search(r"(train_student|train_teacher)\.py(?=\s|$)", line):
            if match[0] != program:
                raise UserError(f"{FLAG} {path} is a log of {match[0]}: run that with {FLAG}")
            try:
                words = shlex.split(line[match.end() :])
            except ValueError as error:
                raise UserError(f"{FLAG} {path}: its command cannot be read: {error}") from None
            return Logged(words, _options_in(lines))
    raise UserError(f"{FLAG} {path} has no command of {program} in its first {HEAD_LINES} lines")


def _options_in(lines: Sequence[str]) -> dict[str, str]:
    line = next((line for line in lines if re.match(r"\('\w[\w.]*': ", line)), "")
    return dict(re.findall(r"\('([\w.]+)': (.*?)\)(?= \('|$)", line))


def expand(argv: Sequence[str], program: str, parser: OptionParser) -> list[str]:
    """The logged words, as far as they are offered, ahead of those given, which win.

    Without --from_log: argv as it is.
    """
    path = path_in(argv)
    if path is None:
        return list(argv)
    logged = read_head(path, program)
    words = [word for group, _ in _understood(logged.words, parser) for word in group]
    if "seed" in logged.options and "--seed" not in words and logged.options["seed"].isdecimal():
        words += ["--seed", logged.options["seed"]]
    return [*words, *argv]


def _understood(words: Sequence[str], parser: OptionParser) -> list[tuple[list[str], str]]:
    """(the words of one flag as they are used here, what is to be told of it) for each flag of a
    logged command."""
    groups: list[list[str]] = []
    for word in words:
        is_flag = word.startswith("--") or word in parser._option_string_actions
        if is_flag:
            flag, equals, value = word.partition("=")
            groups.append([flag, value] if equals else [word])
        elif groups:
            groups[-1].append(word)
    return [_one_understood(group, parser) for group in groups]


def _one_understood(group: list[str], parser: OptionParser) -> tuple[list[str], str]:
    flag, values = parser.known_flag(group[0]), group[1:]
    if flag is None:
        return [], f"{' '.join(group)} is not offered here, and left out"
    if flag in DROPPED:
        return [], ""
    action = parser._option_string_actions[flag]
    if action.metavar in ("FILE", "DIR") and values and values[0]:
        here, note = _found_here(values[0])
        return [flag, here], f"{flag} {note}" if note else ""
    return [flag, *values], ""


def _found_here(path: str) -> tuple[str, str]:
    """(the path here, what is to be told): by its last parts, two at least, if there is none of
    that name."""
    if os.path.exists(os.path.expanduser(path)):
        return path, ""
    parts = [part for part in Path(path).parts if part not in ("/", ".", "..")]
    for start in range(len(parts) - 1):
        for place in PLACES:
            candidate = os.path.join(place, *parts[start:])
            if os.path.exists(candidate):
                return os.path.normpath(candidate), f"{path} is here {os.path.normpath(candidate)}"
    return path, f"{path} is not here, nor its last parts in {', '.join(PLACES)}"


def differences(
    path: str,
    program: str,
    parser: OptionParser,
    *,
    now: Mapping[str, Any],
    found: Mapping[str, Any],
) -> list[str]:
    """Lines on what differs between the logged run and this one. now: all options; found: facts of
    the files."""
    logged = read_head(path, program)
    lines = [note for _, note in _understood(logged.words, parser) if note]
    for name, value in now.items():
        then = logged.options.get(name)
        if then is not None and then != repr(value) and name not in OF_NOW | found.keys():
            lines.append(f"{name} was {then}, is {value!r}")
    for name, value in found.items():
        then = logged.options.get(name)
        if then is not None and then != repr(value):
            lines.append(f"{name} was {then}, is {value!r}: another file than then")
    new = sorted(now.keys() - logged.options.keys() - OF_NOW - found.keys())
    if logged.options and new:
        lines.append(f"options that the log does not know: {', '.join(new)}")
    head = f"the command of {path} is run again"
    return [head, *(f"unlike then: {line}" for line in lines)]
