"""Runs a script's `main` in this process: no start of PyTorch, which takes seconds."""

import contextlib
import io
from types import ModuleType
from typing import NamedTuple

from helper.errors import one_line_errors


class Result(NamedTuple):
    """As that of subprocess.run."""

    returncode: int
    stdout: str
    stderr: str


def call(script: ModuleType, *arguments: object) -> Result:
    """`python scripts/<script>.py <arguments>`, as its `__main__` does it."""
    out, err, status = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with one_line_errors(script.PROGRAM):
                status = script.main([str(argument) for argument in arguments])
        except SystemExit as ended:
            status = ended.code
    assert status is None or isinstance(status, int), status
    return Result(status or 0, out.getvalue(), err.getvalue())


def check_refused(script: ModuleType, words: str, *told: str) -> None:
    """One line on stderr that has all of `told`, status 2, and nothing on stdout."""
    result = call(script, *words.split())
    assert result.returncode == 2 and not result.stdout, result
    assert len(result.stderr.splitlines()) == 1 and all(part in result.stderr for part in told)
