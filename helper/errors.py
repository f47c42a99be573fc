"""Errors that a user can cause, or a machine, and the one line that tells of them."""

import contextlib
import difflib
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator


class UserError(ValueError):
    """A mistake that a user can make.

    The message is one line: the flag or file, the value, the choices.
    """


class RunFault(RuntimeError):
    """A fault that ends a run which was started correctly: a full disk, a loss that is not finite.

    One line, like UserError.
    """


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """The error for `name`, which is none of `choices`; it names the nearest one first."""
    choices = sorted(choices, key=str.casefold)
    folded = {choice.casefold(): choice for choice in choices}
    nearest = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.5)
    hint = f" Did you mean {folded[nearest[0]]!r}?" if nearest else ""
    return UserError(f"unknown {kind} {name!r}.{hint} Choices: {', '.join(choices)}")


def reason_of(error: OSError) -> str:
    """The system's message, with what to do next where the disk is full."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason += (
            ": free some space (`df -h .` shows how much there is), then type the command again; a"
            " training goes on with --resume_ExpID same"
        )
    return reason


def describe_os_error(error: OSError) -> str:
    """The file, and the reason why the system refused it."""
    name = f"{error.filename}: " if error.filename else ""
    return f"{name}{reason_of(error)}"


OUT_OF_MEMORY = r"out of memory|allocate memory|ALLOC_FAILED|DEVICE_ALLOCATION_FAILED"
"""How PyTorch, CUDA, cuBLAS and cuDNN say it."""


@contextlib.contextmanager
def memory_advice(batch_size: int) -> Iterator[None]:
    """Running out of memory becomes a RunFault that says what to try."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # PyTorch has a class of its own for a GPU's memory alone
        if not isinstance(error, MemoryError) and not re.search(OUT_OF_MEMORY, str(error)):
            raise
        what = next(filter(None, str(error).splitlines()), "")[:200]
        raise RunFault(
            f"out of memory at --batch_size {batch_size}: try --amp, a smaller --batch_size (with a"
            f" smaller --learning_rate), or fewer runs at once ({what})"
        ) from None


@contextlib.contextmanager
def one_line_errors(program: str) -> Iterator[None]:
    """Turn errors into one line on stderr, `program: error: ...`, without a traceback.

    The exit status is 2 for a UserError, 1 for a RunFault or an OSError (what the machine refused),
    and 130, or what else the signal asks for, after an interruption. Any other exception is a
    defect of this code and shows its traceback.
    """
    global running_program
    running_program = program
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that knows ASCII alone
        sys.stdout.reconfigure(errors="replace")
    try:
        yield
    except UserError as error:
        print_error(program, error)
        raise SystemExit(2) from None
    except RunFault as error:
        print_error(program, error)
        raise SystemExit(1) from None
    except BrokenPipeError:  # the reader of the output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(1) from None
    except OSError as error:
        print_error(program, describe_os_error(error))
        raise SystemExit(1) from None
    except KeyboardInterrupt as interrupt:
        if prints_errors():
            with contextlib.suppress(OSError):
                sys.stderr.write(f"\n{program}: interrupted\n")
        raise SystemExit(getattr(interrupt, "status", 130)) from None


def _always() -> bool:
    return True


running_program = ""
"""Which script this is, for what cannot reach `one_line_errors`."""
prints_errors: Callable[[], bool] = _always
"""Whether this process prints errors: one process of a run prints the error that ends all."""


def print_error(program: str, message: object) -> None:
    if not prints_errors():
        return
    with contextlib.suppress(OSError):  # stderr may be on the same full disk
        sys.stderr.write(f"{program}: error: {' '.join(str(message).split())}\n")
        sys.stderr.flush()
