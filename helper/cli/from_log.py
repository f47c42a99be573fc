"""`--from_log FILE`: the command at the head of a log.txt, of this system or the original's, is run
again here."""

import itertools
import os
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from helper import VERSION
from helper.cli.parser import OptionParser
from helper.errors import UserError
from helper.run.log_lines import RESUMED

FLAG = "--from_log"
HEAD_LINES, HEAD_LETTERS = 20, 200_000
PLACES = (".", "save", "save/models", "data")
"""Folders in which a path of another machine is looked for by its last parts."""
DROPPED = ("--resume", "--resume_student", "--resume_ExpID", "--dry_run", "--list", FLAG)
"""Flags of a logged command that do not belong to running it again."""
OF_NOW = frozenset(
    "from_log dry_run resume resume_student resume_ExpID seed_is_drawn cache_dir data_root path_t"
    " model_path".split()
)
"""Options that may well differ, or are listed as paths."""
COMMAND = re.compile(r"(train_student\.py|train_teacher\.py)(?=\s|$)(.*)")
SAME = (
    {"path_t", "model_t_pretrained"},
    {"finetune_student", "model_s_pretrained"},
    {"use_DA", "no_DA"},
    {"resume_student", "resume_ExpID"},
)
"""Groups of options with one meaning. The one beside --from_log replaces the logged one."""
OF_SHELL = re.compile(r"\d*[<>].*|&>.*|[&|;]+")
"""A word for the shell, such as > or &: the command ends before it."""


class Logged(NamedTuple):
    """The head of a log."""

    words: list[str]
    """The command's, after its script's name."""
    options: dict[str, str]
    """Every option, as its value's text in Python."""
    versions: dict[str, str]
    """Versions of this project and of PyTorch, as far as the log tells them."""
    commands: int
    """How many commands of the script the head holds; the first is taken."""


class Expanded(NamedTuple):
    """A command with --from_log, spelled out."""

    argv: list[str]
    notes: list[str]
    """Differences from the logged command."""

    @property
    def spelled_out(self) -> list[str]:
        """The words without --from_log, for the log of this run."""
        words = [word for word in self.argv if not word.startswith(f"{FLAG}=")]
        if FLAG in words:
            place = words.index(FLAG)
            del words[place : place + 2]
        return words


def path_in(argv: Sequence[str], parser: OptionParser) -> str | None:
    """The FILE of --from_log in a command; None if it is not given.

    UserError if it is given twice, or shortened: it is read before all other options.
    """
    places = [k for k, word in enumerate(argv) if parser.known_flag(word.split("=")[0]) == FLAG]
    if not places:
        return None
    if len(places) > 1:
        raise UserError(f"{FLAG} is given twice: one command at a time is run again")
    flag, equals, value = argv[places[0]].partition("=")
    if flag != FLAG:
        raise UserError(f"{FLAG} cannot be shortened to {flag}: it is read before other options")
    return value if equals else next(iter(argv[places[0] + 1 :]), None)


def read_head(path: str, program: str) -> Logged:
    """UserError if the file holds no command of `program`."""
    text = _head(path)
    lines = text.split("\n")[:HEAD_LINES]
    found = [match for line in lines if (match := COMMAND.search(line))]
    found = [match for match in found if RESUMED not in match.string[: match.start()]]
    if not found:
        raise UserError(
            f"{FLAG} {path} has no command of {program} in its first {HEAD_LINES} lines"
        )
    if found[0][1] != program:
        raise UserError(f"{FLAG} {path} is a log of {found[0][1]}: run that with {FLAG}")
    try:
        words = shlex.split(found[0][2])
    except ValueError as error:
        raise UserError(f"{FLAG} {path}: its command cannot be read: {error}") from None
    words = list(itertools.takewhile(lambda word: not OF_SHELL.fullmatch(word), words))
    versions = re.search(r"\] version (?P<version>\S+), .*?torch (?P<torch>[^\s,]+)", text)
    return Logged(
        words, _options_in(lines), versions.groupdict() if versions else {}, commands=len(found)
    )


def _head(path: str) -> str:
    """The beginning of a log.txt, or of that of a run folder; lines that a backslash continues are
    joined."""
    file = Path(path).expanduser()
    if file.is_dir():
        places = (file / "log" / "log.txt", file / "log.txt")
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise UserError(f"{FLAG} {path} is a folder without log/log.txt, so no run folder")
        file = found
    try:
        with open(file, encoding="utf-8", errors="replace") as text:
            head = text.read(HEAD_LETTERS)
    except OSError as error:
        raise UserError(f"{FLAG} {path}: {error.strerror}") from None
    return head.replace("\\\n", " ")


def _options_in(lines: Sequence[str]) -> dict[str, str]:
    line = next((line for line in lines if re.match(r"\('\w[\w.]*': ", line)), "")
    return dict(re.findall(r"\('([\w.]+)': (.*?)\)(?= \('|$)", line))


def expand(argv: Sequence[str], program: str, parser: OptionParser) -> Expanded:
    """The logged words, as far as they are offered, ahead of those given, which win.

    Without --from_log: argv as it is. UserError if FILE holds no command of `program`.
    """
    path = path_in(argv, parser)
    if path is None:
        return Expanded(list(argv), [])
    logged = read_head(path, program)
    if inner := path_in(logged.words, parser):
        raise UserError(f"{FLAG} {path}: its command is itself {FLAG} {inner}; give {FLAG} {inner}")
    parser.after_errors = (
        f" (the command was read from {path}; a flag beside {FLAG} replaces the one there)"
    )
    beside = _given(argv, parser)
    words, notes = [], []
    if logged.commands > 1:
        notes.append(f"the first of {logged.commands} commands in {path} is taken")
    for group in _groups(logged.words, parser):
        here, note = _understood(group, parser, beside)
        words += here
        notes += [note] if note else []
    if "seed" in logged.options and "--seed" not in words and logged.options["seed"].isdecimal():
        words += ["--seed", logged.options["seed"]]
    return Expanded([*words, *argv], notes)


def _given(argv: Sequence[str], parser: OptionParser) -> set[str]:
    """The options that the words name, and those with the same meaning."""
    flags = [parser.known_flag(word.partition("=")[0]) for word in argv]
    names = {parser.action_of(flag).dest for flag in flags if flag is not None}
    return names.union(*(same for same in SAME if same & names))


def _groups(words: Sequence[str], parser: OptionParser) -> list[list[str]]:
    """A flag with its values, for each flag."""
    groups: list[list[str]] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if word.startswith("--") or parser.known_flag(word):
            groups.append([flag, value] if equals else [word])
        elif groups:
            groups[-1].append(word)
    return groups


def _understood(
    group: list[str], parser: OptionParser, beside: Collection[str]
) -> tuple[list[str], str]:
    """(the flag's words for this command, a note for the user or "")."""
    flag, values = parser.known_flag(group[0]), group[1:]
    if flag is None:
        return [], f"{' '.join(group)} is not offered here, and left out"
    action = parser.action_of(flag)
    if flag in DROPPED or (action.dest in beside and action.dest != "plugin"):
        return [], ""
    if action.metavar in ("FILE", "DIR", "FILE.py") and values and values[0]:
        here, note = _found_here(values[0])
        return [flag, here], f"{flag} {note}" if note else ""
    return [flag, *values], ""


def _found_here(path: str) -> tuple[str, str]:
    """(the path here, what is to be told): by its last parts, two at least, if there is none of
    that name."""
    if os.path.exists(os.path.expanduser(path)):
        return path, ""
    parts = [part for part in re.split(r"[/\\]", path) if part not in ("", ".", "..")]
    for start in range(len(parts) - 1):
        for place in PLACES:
            candidate = os.path.join(place, *parts[start:])
            if os.path.exists(candidate):
                return os.path.normpath(candidate), f"{path} is here {os.path.normpath(candidate)}"
    return path, f"{path} is not here, nor its last parts in {', '.join(PLACES)}"


def differences(
    path: str,
    program: str,
    notes: Sequence[str],
    *,
    now: Mapping[str, Any],
    found: Mapping[str, Any],
) -> list[str]:
    """Lines on what differs between the logged run and this one.

    notes: from `expand`; now: all options; found: facts of the files.
    """
    logged, lines = read_head(path, program), list(notes)
    for name, value in now.items():
        then = logged.options.get(name)
        if then is not None and then != repr(value) and name not in OF_NOW | found.keys():
            lines.append(f"{name} was {then}, is {value!r}")
    for name, value in found.items():
        then = logged.options.get(name)
        if then is not None and then != repr(value):
            lines.append(f"{name} was {then}, is {value!r}: another file than then")
    for name, version in (("version", VERSION), ("torch", torch.__version__)):
        if (then := logged.versions.get(name, version)) != version:
            lines.append(f"{name} was {then}, is {version}")
    new = sorted(now.keys() - logged.options.keys() - OF_NOW - found.keys())
    if logged.options and new:
        lines.append(f"options that the log does not know: {', '.join(new)}")
    head = f"the command of {path} is run again"
    return [head, *(f"unlike then: {line}" for line in lines)]
