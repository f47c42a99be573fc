"""Names of models, data sets, mix modes and distillers, and the keys in `NAME:key=value,...`.

A new one is a file with the decorator and an import of that file; the command line's choices,
`--list` and the tests read the registry.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from helper.errors import UserError, unknown_name

T = TypeVar("T")
Decorated = TypeVar("Decorated")


class Registry(Generic[T]):
    """Maps names to what was registered under them, in the order of registration."""

    def __init__(self, kind: str) -> None:
        """`kind` is the word for one entry in error messages: "model", "mix mode", ..."""
        self.kind = kind
        self._entries: dict[str, T] = {}

    @overload
    def register(self, name: str) -> Callable[[Decorated], Decorated]: ...

    @overload
    def register(self, name: str, entry: T) -> T: ...

    def register(self, name: str, entry: Any = None) -> Any:
        """Decorator that files its function or class under `name`.

        `register(name, entry)` does it at once.

        Raises ValueError if the name is taken.
        """

        def add(item: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = item
            return item

        return add if entry is None else add(entry)

    def __getitem__(self, name: str) -> T:
        """The entry called `name`. UserError (a ValueError) names the nearest if there is none."""
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


Value = float | int | str


@dataclass(frozen=True)
class Key:
    """A number or a word that `NAME:key=value` sets.

    `default` None: something else says it; `help` says what.
    """

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
    """Declares a key in the body of a class: `sigma = key(0.25, 0, 10, "standard deviation")`.

    An instance has the value in its place. The type is that of the default: int, float, or str
    among `choices`; a default of None needs `kind`.
    """
    if kind is None:
        kind = str if len(choices) else type(default)
    return Key(default, low, high, help, choices, kind, flag)


def spell(value: Value) -> str:
    """A value as the grammar writes it: the shortest text that reads back, without a plus sign."""
    if isinstance(value, tuple):
        return "..".join(map(spell, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0").replace("e+", "e")
    return str(value)


def keys_of(cls: type) -> dict[str, Key]:
    """The keys that a class and its bases declare: name -> key, those of the first base first."""
    return {
        name: value
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, Key)
    }


def split_name(text: str, kind: str) -> tuple[str, dict[str, str]]:
    """ "NAME:key=value,key=value" -> (NAME, {key: value}), all of it text.

    UserError, with `kind`, if it is malformed.
    """
    name, colon, rest = text.partition(":")
    if not name:
        raise UserError(f"a {kind} has no name: {text!r}")
    values: dict[str, str] = {}
    for word in rest.split(",") if colon else ():
        one, _, value = word.partition("=")
        if not (one and value):
            raise UserError(f"{name}: {word!r} is not key=value")
        if one in values:
            raise UserError(f"{name} has the key {one} twice")
        values[one] = value
    return name, values


def read_keys(name: str, keys: Mapping[str, Key], given: Mapping[str, Value]) -> dict[str, Value]:
    """The given values or texts as values.

    UserError, with `name`, for an unknown key or a wrong value.
    """
    values = {}
    for one, value in given.items():
        if one not in keys:
            raise unknown_name(f"key of {name}", one, keys)
        try:
            values[one] = keys[one].read(value)
        except UserError as error:
            raise UserError(f"{name}: {one}={error}") from None
    return values
