"""Spaces to search: .toml files with chains of stages whose values are lists or ranges.

rounds = 2        # how often new candidates are drawn near the best ones
samples = 6       # candidates drawn of each chain that has a range
budget = 20000    # training images at the most

[[chains]]
chain = "cutout:size={size}+cutmix:alpha={alpha}"
size = [4, 8, 12]                                  # a list: each value
alpha = { low = 0.2, high = 2.0, scale = "log" }   # a range: drawn, and refined where it pays
"""

import importlib
import itertools
import math
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helper.errors import UserError

tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
FOLDER = Path(__file__).parent / "spaces"
NUMBERS = {"rounds": (1, 9), "samples": (4, 100), "budget": (50_000, 10**9)}
"""Entry -> default and the most that it may be."""
PLACE = re.compile(r"{([a-zA-Z_]\w*)}")
NEARBY = 0.25
"""A new candidate lies within this share of the range from the one that it refines."""


@dataclass(frozen=True)
class Range:
    """Values from low to high, uniform on a linear or a logarithmic scale.

    Whole numbers if both ends are.
    """

    low: float
    high: float
    is_log: bool = False

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, position: float) -> float:
        """The value at a position in 0..1, with three digits."""
        position = min(1.0, max(0.0, position))
        if self.is_log:
            value = self.low * (self.high / self.low) ** position
        else:
            value = self.low + (self.high - self.low) * position
        return round(value) if self.is_whole else float(f"{value:.3g}")

    def position(self, value: float) -> float:
        """The other way round."""
        if self.high == self.low:
            return 0.0
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Candidate:
    """A scheme, and where it comes from: its chain, the values of its lists and of its ranges."""

    scheme: str
    chain: "ChainSpace"
    listed: dict[str, Any]
    drawn: dict[str, float]


@dataclass(frozen=True)
class ChainSpace:
    """One chain. lists: name -> values. ranges: name -> range."""

    template: str
    lists: dict[str, list[Any]]
    ranges: dict[str, Range]

    def candidate(self, listed: dict[str, Any], drawn: dict[str, float]) -> Candidate:
        return Candidate(self.template.format(**listed, **drawn), self, listed, drawn)

    def near(self, parent: Candidate, reach: float, draw: random.Random) -> Candidate:
        """A new one within `reach`, a share of each range, from the parent."""
        drawn = {
            name: one.at(one.position(parent.drawn[name]) + draw.uniform(-reach, reach))
            for name, one in sorted(self.ranges.items())
        }
        return self.candidate(parent.listed, drawn)

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every combination of the lists' values."""
        for values in itertools.product(*self.lists.values()):
            yield dict(zip(self.lists, values))


@dataclass(frozen=True)
class Space:
    """The choices of a search."""

    name: str
    chains: tuple[ChainSpace, ...]
    rounds: int
    samples: int
    budget: int
    """Training images at the most, unless the command line says otherwise."""

    def candidates(self, seed: int) -> list[Candidate]:
        """The first ones: each combination of the lists.

        With ranges, `samples` of them with drawn values.
        """
        draw, found = random.Random(f"{seed} {self.name}"), []
        for chain in self.chains:
            grid = list(chain.grid())
            if not chain.ranges:
                found += [chain.candidate(listed, {}) for listed in grid]
                continue
            count = max(self.samples, len(grid))
            for sample in range(count):
                at = (sample + draw.random()) / count  # each has its own part of the first range
                drawn = {
                    name: one.at(draw.random() if index else at)
                    for index, (name, one) in enumerate(chain.ranges.items())
                }
                found.append(chain.candidate(grid[sample % len(grid)], drawn))
        return list({candidate.scheme: candidate for candidate in found}.values())

    def near(self, parents: Sequence[Candidate], seed: int, number: int) -> list[Candidate]:
        """New candidates of round `number`: two near each of the parents that have ranges."""
        draw, reach = random.Random(f"{seed} {self.name} {number}"), NEARBY / number
        twice = [parent for parent in parents if parent.drawn for _ in range(2)]
        found = [parent.chain.near(parent, reach, draw) for parent in twice]
        fresh = {candidate.scheme: candidate for candidate in found}
        for parent in parents:
            fresh.pop(parent.scheme, None)
        return list(fresh.values())


def read_space(name: str) -> Space:
    """A shipped space by its name, or a .toml file. UserError that names the file and the entry."""
    shipped = sorted(path.stem for path in FOLDER.glob("*.toml"))
    path = FOLDER / f"{name}.toml" if name in shipped else Path(name)
    if name not in shipped and path.suffix != ".toml":
        raise UserError(
            f"--search {name}: no such space. Choices: {', '.join(shipped)}, or a .toml file"
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"--search {path} does not exist") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"--search {path}: {error}") from None
    return space_of(content, path)


def space_of(content: dict[str, Any], path: Path) -> Space:
    """UserError that names the entry that is wrong."""
    unknown = set(content) - {*NUMBERS, "chains"}
    if unknown:
        choices = ", ".join((*NUMBERS, "chains"))
        raise UserError(f"{path}: unknown entry {sorted(unknown)[0]}. Choices: {choices}")
    numbers = {name: content.get(name, default) for name, (default, _) in NUMBERS.items()}
    for name, value in numbers.items():
        most = NUMBERS[name][1]
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise UserError(f"{path}: {name} = {value!r} is not a whole number from 0 to {most}")
    chains = content.get("chains")
    if not isinstance(chains, list) or not chains or not all(isinstance(c, dict) for c in chains):
        raise UserError(f'{path}: it needs [[chains]], each with chain = "..."')
    made = [chain_of(chain, f"{path}, chain {number}") for number, chain in enumerate(chains, 1)]
    return Space(path.stem, tuple(made), **numbers)


def chain_of(entries: dict[str, Any], where: str) -> ChainSpace:
    template = entries.get("chain")
    if not isinstance(template, str):
        raise UserError(f'{where}: it needs chain = "..."')
    wanted = set(PLACE.findall(template))
    if {"{", "}"} & set(PLACE.sub("", template)):
        raise UserError(f"{where}: chain {template!r}: a value's place is its name in {{}}")
    given = set(entries) - {"chain"}
    if wanted != given:
        odd = sorted(wanted ^ given)[0]
        what = "no values" if odd in wanted else "no place in the chain"
        raise UserError(f"{where}: {odd!r} has {what}: {template!r}")
    lists = {name: value for name, value in entries.items() if isinstance(value, list)}
    ranges = {
        name: range_of(value, f"{where}: {name}")
        for name, value in entries.items()
        if name != "chain" and name not in lists
    }
    for name, values in lists.items():
        if not values or not all(isinstance(v, (int, float, str)) for v in values):
            raise UserError(f"{where}: {name} = {values!r} is no list of numbers or names")
    return ChainSpace(template, lists, ranges)


def range_of(value: Any, where: str) -> Range:
    names = {"low", "high", "scale"}
    if not isinstance(value, dict) or not {"low", "high"} <= set(value) <= names:
        raise UserError(f'{where}: expected a list, or {{ low = .., high = .., scale = "log" }}')
    low, high, scale = value["low"], value["high"], value.get("scale", "linear")
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (low, high))
    if scale not in ("linear", "log") or not numeric or not low <= high:
        raise UserError(f"{where}: low, high and scale (linear, log) are not a range: {value}")
    if scale == "log" and low <= 0:
        raise UserError(f"{where}: a log scale begins above 0, not at {low}")
    return Range(low, high, scale == "log")
