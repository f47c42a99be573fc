"""The common part of the command lines of scripts that show results."""

import sys
from collections.abc import Iterable
from pathlib import Path

from helper.cli.parser import OptionParser


def paths_parser(program: str, text: str | None) -> OptionParser:
    """A parser for run folders and logs. text: the script's docstring."""
    description, _, details = (text or "").partition("\n")
    parser = OptionParser(prog=program, description=description, epilog=details)
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="run folders, folders of them, log files",
    )
    return parser


def print_remarks(lines: Iterable[str]) -> None:
    """On stderr: remarks do not belong into a table."""
    for line in lines:
        print(line, file=sys.stderr)
