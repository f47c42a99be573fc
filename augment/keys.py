"""Keys of a stage: the numbers and choices that `--mix_mode NAME:key=value` sets, with defaults and ranges."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from helper.errors import UserError

Value = float | int | str


@dataclass(frozen=True)
class Key:
    """One key of a stage. `default` None: the data set or a flag says it; `help` says which."""

    default: Value | None
    low: float
    high: float
    help: str
    choices: Collection[str]
    kind: type
    flag: str
    """The older flag that says the same, without its dashes; empty if there is none."""

    def read(self, text: Value) -> Value:
        """The value that `text` spells. UserError that says what is allowed."""
        if self.kind is str:
            if text not in self.choices:
                raise UserError(f"{text!r} is not one of {', '.join(self.choices)}")
            return text
        try:
            value = self.kind(text) if str(text).isascii() else math.nan
        except ValueError:
            value = math.nan
        if not self.low <= value <= self.high:
            raise UserError(f"{text!r} is not {self.range()}")
        return value

    def range(self) -> str:
        """The allowed values in words."""
        if self.kind is str:
            return f"one of {', '.join(self.choices)}"
        word = "a whole number" if self.kind is int else "a number"
        return f"{word} from {spell(self.low)} to {spell(self.high)}"


def key(
    default: Value | None, low: float = 0, high: float = 1, help: str = "",
    *, choices: Collection[str] = (), kind: type | None = None, flag: str = "",
) -> Any:  # fmt: skip
    """Declares a key of a stage: `sigma = key(0.25, 0, 10, "standard deviation")` in the class's body.

    An instance has the value in its place. The type is that of the default: int, float, or str among `choices`;
    a default of None needs `kind`.
    """
    if kind is None:
        kind = str if len(choices) else type(default)
    return Key(default, low, high, help, choices, kind, flag)


def spell(value: Value) -> str:
    """A value as the grammar writes it: the shortest text that reads back the same, without a plus sign."""
    if isinstance(value, tuple):
        return "..".join(map(spell, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0").replace("e+", "e")
    return str(value)
