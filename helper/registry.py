"""Names for models, data sets, mix modes and distillers.

A new one is a file with the decorator and an import of that file; the command line's choices,
`--list` and the tests read the registry.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from helper.errors import unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to what was registered under them, in the order of registration."""

    def __init__(self, kind: str) -> None:
        """`kind` is the word for one entry in error messages: "model", "mix mode", ..."""
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T | None = None) -> Callable[[T], T]:
        """Decorator that files its function or class under `name`; `register(name, entry)` does it at once.

        Raises ValueError if the name is taken.
        """

        def add(item: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = item
            return item

        return add if entry is None else add(entry)

    def __getitem__(self, name: str) -> T:
        """The entry called `name`; UserError (a ValueError) with the nearest name if there is none."""
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
