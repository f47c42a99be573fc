"""The options at the head of a log, "('alpha': 0.9) ...", read without evaluating it."""

import ast
import re
from typing import Any

from helper.errors import UserError

LONGEST_LIST = 100_000
"""Characters of a quoted string or a list."""
OPTION = re.compile(r"\('([^']{1,100})': ")
QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
OPTION_END = re.compile(r"\)(?=\s+\('[^']{1,100}': |\s*$)\s*")


def parse_options(line: str) -> dict[str, Any]:
    """The options of a line; strings may stand with quotes or without.

    UserError if the list is malformed.
    """
    options, position = {}, 0
    while position < len(line):
        start = OPTION.match(line, position)
        quoted = start and QUOTED.match(line, start.end())
        end = start and OPTION_END.search(line, quoted.end() if quoted else start.end())
        if not start or not end or (quoted and end.start() != quoted.end()):
            shown = printable(line[position : position + 40])
            raise UserError(f"its list of options is malformed at {shown!r}")
        options[start[1]] = literal(line[start.end() : end.start()])
        position = end.end()
    return options


def literal(text: str) -> Any:
    """None, a truth value, a number, a quoted string or a flat list; else the text itself."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    may_be_one = text in ("None", "True", "False") or text[:1] in ("'", '"', "[", "(")
    if may_be_one and len(text) < LONGEST_LIST:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
        value = list(value) if isinstance(value, tuple) else value
        return value if is_flat(value) else text
    return text


def is_flat(value: Any) -> bool:
    """Whether it is what an option can be: a scalar, or a list of scalars."""
    items = value if isinstance(value, list) else [value]
    return not any(isinstance(item, (list, dict)) for item in items)


def printable(value: Any) -> str:
    """One line without control characters: a log may hold anything."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
