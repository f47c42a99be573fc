"""argparse for this command line: one-line errors, old abbreviations, and the types of the
arguments."""

import argparse
import difflib
import math
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from augment import parse
from distiller_zoo import parse_methods
from helper import VERSION
from helper.cli import flag_elsewhere, short_help
from helper.errors import UserError, print_error, unknown_name
from helper.registry import Registry


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are written, and room for our long flags."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=38, width=110)


class _Help(argparse.Action):
    """--help and --help all: print and end."""

    def __call__(
        self, parser: argparse.ArgumentParser, _: object, values: Any, *__: object
    ) -> None:
        if values not in (None, "all"):
            parser.error(f"--help takes the word all, or nothing, and not {values!r}")
        short_help.answer(parser.prog, ["--help"] if values is None else [])
        parser.print_help()
        parser.exit()


class Options(argparse.Namespace):
    """The options of a command.

    `facts` follows from them, and is not listed among them by `vars`; nor is `expanded`, the words
    of a command with --from_log.
    """

    __slots__ = ("expanded", "facts")


class OptionParser(argparse.ArgumentParser):
    """argparse with one-line errors, and flags that may be shortened wherever that was unambiguous
    before.

    Flags marked `new=True` did not exist in the original system. A shortened flag means an old one
    if it can, so adding flags never breaks a command that ran.
    """

    def __init__(self, *, has_short_help: bool = False, **kwargs: Any) -> None:
        """has_short_help: --help prints the text of short_help.py, `--help all` every flag."""
        kwargs = {"formatter_class": _HelpFormatter, "add_help": not has_short_help} | kwargs
        super().__init__(allow_abbrev=False, **kwargs)
        self.epilog = f"{self.epilog or ''}\n\nversion {VERSION}".lstrip()
        self.flags: dict[str, bool] = {"--help": False}
        self.after_errors = ""
        self.all_flags = "--help all" if has_short_help else "--help"
        if has_short_help:
            text = "the flags that people use first; all: every flag, as here"
            self.add_argument(
                "-h",
                "--help",
                nargs="?",
                metavar="all",
                default=argparse.SUPPRESS,
                action=_Help,
                help=text,
            )

    def section(self, title: str, description: str | None = None) -> Callable[..., None]:
        """A titled group in --help; returns its add_argument, which also takes `new=True`."""
        group = self.add_argument_group(title, description)

        def add(*flags: str, new: bool = False, **kwargs: Any) -> None:
            self.flags.update({flag: new for flag in flags if flag.startswith("--")})
            group.add_argument(*flags, **kwargs)

        return add

    def error(self, message: str) -> NoReturn:
        _, is_missing, names = message.partition("following arguments are required: ")
        if is_missing:
            words = " ".join(self._as_typed(name) for name in names.split(", "))
            message = f"{words} is missing: type python {sys.argv[0]} {words} (--help says more)"
        print_error(self.prog, message + self.after_errors)
        self.exit(2)

    def _as_typed(self, name: str) -> str:
        """A flag and the name of its value, "--path_t FILE"; other names stay as they are."""
        action = self._option_string_actions.get(name)
        return f"{name} {action.metavar}" if action else name

    def _expand_home(self, options: Options, action: argparse.Action) -> None:
        """A shell leaves ~ as it is in --data_root=~/x."""
        value = getattr(options, action.dest, None)
        if isinstance(value, list):
            setattr(options, action.dest, [self._at_home(action, one) for one in value])
        else:
            setattr(options, action.dest, self._at_home(action, value))

    def _at_home(self, action: argparse.Action, value: Any) -> Any:
        kind = str(action.metavar).partition(".")[0]  # FILE.csv is a FILE
        names_a_file = kind in ("FILE", "DIR") and isinstance(value, str)
        if not names_a_file and not isinstance(value, Path):
            return value
        expanded = os.path.expanduser(value)
        if expanded.startswith("~") and "/" in expanded:
            flag = next(iter(action.option_strings), action.dest)
            self.error(f"{flag} {value}: there is no such user")
        return type(value)(expanded)

    def full_flag(self, flag: str) -> str:
        """The flag that `flag` abbreviates. Exits with the nearest name if there is none."""
        if flag in self.flags:
            return flag
        candidates = [known for known in self.flags if known.startswith(flag)]
        candidates = [known for known in candidates if not self.flags[known]] or candidates
        if len(candidates) == 1:
            return candidates[0]
        if candidates and not flag_elsewhere.hint(flag, self.flags):
            self.error(f"{flag} could be {' or '.join(sorted(candidates))}")
        self.unknown_flag(flag)

    def action_of(self, flag: str) -> argparse.Action:
        """The action of a flag that is known."""
        return self._option_string_actions[flag]

    def known_flag(self, flag: str) -> str | None:
        """The flag that `flag` is or abbreviates; None if there is none, or several."""
        if flag in self._option_string_actions:
            return flag
        candidates = [known for known in self.flags if known.startswith(flag)]
        candidates = [known for known in candidates if not self.flags[known]] or candidates
        return candidates[0] if flag.startswith("--") and len(candidates) == 1 else None

    def unknown_flag(self, flag: str) -> NoReturn:
        """Exits. A hint that misleads is worse than none: only what is spelled nearly so is
        named."""
        if hint := flag_elsewhere.hint(flag, self.flags):
            self.error(f"unknown option {flag}: {hint} ({self.all_flags} lists all)")
        folded = {flag_elsewhere.folded(known): known for known in self.flags}
        nearest = difflib.get_close_matches(flag_elsewhere.folded(flag), folded, n=1, cutoff=0.7)
        hint = f". The nearest one is {folded[nearest[0]]}" if nearest else ""
        self.error(f"unknown option {flag}{hint} ({self.all_flags} lists all)")

    def parse(self, argv: Sequence[str]) -> Options:
        """Like parse_args, with abbreviations and one-line errors."""
        expanded = []
        for word in argv:
            flag, equals, value = word.partition("=")
            is_flag = flag.startswith("--") and len(flag) > 2 and " " not in flag
            expanded.append(self.full_flag(flag) + equals + value if is_flag else word)
        options, rest = self.parse_known_args(expanded, Options())
        for action in self._actions:
            if action.dest in options:
                self._expand_home(options, action)
        if rest and rest[0].startswith("-"):
            self.unknown_flag(rest[0])
        if rest:
            self.error(f"unexpected argument {rest[0]!r} (did a * in a path match several files?)")
        return options


def one_of(kind: str, choices: Iterable[str]) -> Callable[[str], str]:
    """An argparse type: a name among `choices`, a registry perhaps; a wrong one is told the
    nearest."""
    choices = choices if isinstance(choices, Registry) else list(choices)

    def convert(text: str) -> str:
        try:
            if isinstance(choices, Registry):
                choices[text]
            elif text not in choices:
                raise unknown_name(kind, text, choices)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return convert


def device(text: str) -> str:
    """An argparse type: auto, cpu or cuda; one of several GPUs is chosen from outside."""
    name = text.casefold()
    if numbered := re.fullmatch(r"((cuda|gpu):?)?(?P<index>\d+(,\d+)*)", name):
        index = numbered["index"]
        several = ", and start it by torchrun" if "," in index else ""
        raise argparse.ArgumentTypeError(
            f"{text!r}: choose the GPU by CUDA_VISIBLE_DEVICES={index} in front of the command, and"
            f" --device cuda{several}"
        )
    if name in ("gpu", "cuda") and text != "cuda":
        raise argparse.ArgumentTypeError(
            f"{text!r}: it is --device cuda here. Choices: auto, cpu, cuda"
        )
    if name.partition(":")[0] in ("mps", "xpu", "tpu", "hip"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not supported: --device cpu runs everything, cuda needs an NVIDIA or"
            " AMD GPU"
        )
    return one_of("device", ["auto", "cpu", "cuda"])(text)


def mix_mode(names: Collection[str]) -> Callable[[str], str]:
    """An argparse type: a chain of stages among `names`, as augment/chain.py reads it."""

    def convert(text: str) -> str:
        try:
            stages = parse(text)
            for stage in stages:
                if stage.name not in names and stage.picks:
                    raise unknown_name("mix mode", stage.name, names)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return convert


def number(
    kind: type = float, minimum: float = 0, *, above: bool = False, below: float = math.inf
) -> Callable[[str], Any]:
    """An argparse type: a finite number of at least (or, with `above`, more than) `minimum`, and
    less than `below`."""
    bound = f"{'above' if above else 'of at least'} {minimum:g}" + (
        f" and below {below:g}" if below < math.inf else ""
    )
    word = "a whole number" if kind is int else "a number"

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not minimum <= value < below or (above and value == minimum):
            raise argparse.ArgumentTypeError(f"{text!r} is not {word} {bound}")
        return value

    return convert


def names_joined_by_plus(kind: str, choices: Iterable[str]) -> Callable[[str], str]:
    """An argparse type: "A+B", different names among `choices`."""
    convert_one = one_of(kind, choices)

    def convert(text: str) -> str:
        names = [convert_one(name) for name in text.split("+")]
        if len(set(names)) < len(names):
            raise argparse.ArgumentTypeError(f"{text!r} names a {kind} twice")
        return text

    return convert


def methods_joined_by_plus(text: str) -> str:
    """An argparse type: "A+B:key=value,key=value", different distillers with values of their
    keys."""
    try:
        parse_methods(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def weights(text: str) -> float | tuple[float, ...]:
    """ "0.8" -> 0.8; "0.8,100" -> (0.8, 100.0)."""
    values = tuple(number()(part) for part in text.split(","))
    return values[0] if len(values) == 1 else values


def loss_weights_of_mix(text: str) -> tuple[float, float, float]:
    """ "[1,0,1]" or "1,0,1" -> (1.0, 0.0, 1.0)."""
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    try:
        weights = tuple(float(part) for part in inner.split(","))
    except ValueError:
        weights = ()
    if len(weights) != 3 or not all(math.isfinite(w) and w >= 0 for w in weights):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected three weights [LW1,LW2,LW3] of at least 0, without spaces, such as"
            " [1,0,1]"
        )
    return weights


def three_numbers(text: str) -> tuple[float, float, float]:
    """ "0.5,0.5,0.5" -> (0.5, 0.5, 0.5): a value of 0..1 for each channel."""
    values = tuple(number(float)(part) for part in text.split(","))
    if len(values) != 3 or max(values) > 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected three numbers of 0..1, R,G,B")
    return values


def epoch_list(text: str) -> list[int]:
    """ "150,180,210" -> [150, 180, 210]."""
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    parts = [part.strip() for part in inner.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: expected epochs such as 150,180,210")
    return [int(part) for part in parts]


def two_switches(text: str) -> str:
    """ "11": crop, flip."""
    if len(text) != 2 or set(text) - set("01"):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected two digits, crop and flip: 11, 10, 01 or 00"
        )
    return text
