"""Errors that a user can cause, and the one line that tells them so."""

import contextlib
import difflib
import sys
from collections.abc import Iterable, Iterator


class UserError(ValueError):
    """What a user can get wrong. The message is one line: the flag or file, the value, the choices."""


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """The error for `name`, which is none of `choices`; it names the nearest one first."""
    choices = sorted(choices, key=str.casefold)
    folded = {choice.casefold(): choice for choice in choices}
    nearest = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.5)
    hint = f" Did you mean {folded[nearest[0]]!r}?" if nearest else ""
    return UserError(f"unknown {kind} {name!r}.{hint} Choices: {', '.join(choices)}")


@contextlib.contextmanager
def one_line_errors(program: str) -> Iterator[None]:
    """Turn a UserError into `program: error: ...` on stderr and exit status 2, Ctrl-C into status 130.

    Neither shows a traceback; any other exception is a defect of ours and does.
    """
    try:
        yield
    except UserError as error:
        sys.stderr.write(f"{program}: error: {' '.join(str(error).split())}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{program}: interrupted\n")
        raise SystemExit(130) from None
