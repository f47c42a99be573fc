"""The grammar of --mix_mode: stages joined by +, each NAME or NAME:key=value,key=value.

`parse` reads it, `spell_chain` writes the canonical spelling, `build` makes the augmentation.
Stages work from left to right. At most one mixes images; after it, nothing but a pick may follow.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from augment.base import Augmentation, Augmented, MixSettings, check_key, mix_modes
from augment.keys import Value, spell
from augment.library import PREFIX, library_stage
from augment.pick import Pool, PoolOfChain
from dataset.spec import DatasetSpec
from helper.errors import UserError


def stage_kind(name: str) -> type[Augmentation]:
    """The class of a stage: registered, or torchvision's.

    UserError with the nearest name if there is none.
    """
    return library_stage(name) if name.startswith(PREFIX) else mix_modes[name]


@dataclass(frozen=True)
class Stage:
    """A stage as it is written."""

    name: str
    values: dict[str, Value] = field(default_factory=dict)

    @property
    def kind(self) -> type[Augmentation]:
        return stage_kind(self.name)

    @property
    def picks(self) -> bool:
        return issubclass(self.kind, Pool)

    def __str__(self) -> str:
        """The canonical spelling: keys sorted, defaults left out."""
        keys = self.kind.keys()
        values = ",".join(
            f"{name}={spell(value)}"
            for name, value in sorted(self.values.items())
            if value != keys[name].default
        )
        return f"{self.name}:{values}" if values else self.name


def parse(text: str) -> tuple[Stage, ...]:
    """The stages that `text` names. UserError with the stage, the key and what is allowed."""
    if text in mix_modes:  # such as crop+flip
        return (Stage(text),)
    stages = tuple(parse_stage(part) for part in text.split("+"))
    for before, after in itertools.pairwise(stages):
        if before.picks or (before.kind.mixes and not issubclass(after.kind, PoolOfChain)):
            does = "picks" if before.picks else "mixes images"
            raise UserError(f"{before.name} {does}, so {after.name} cannot follow it")
    return stages


def parse_stage(text: str) -> Stage:
    name, colon, rest = text.partition(":")
    keys, values = stage_kind(name).keys(), {}
    for word in rest.split(",") if colon else ():
        one, equals, value = word.partition("=")
        if not (one and equals and value):
            raise UserError(f"{name}: {word!r} is not key=value. Keys: {', '.join(keys)}")
        check_key(name, one, keys)
        if one in values:
            raise UserError(f"{name} has the key {one} twice")
        try:
            values[one] = keys[one].read(value)
        except UserError as error:
            raise UserError(f"{name}: {one}={error}") from None
    return Stage(name, values)


def spell_chain(stages: Sequence[Stage]) -> str:
    """The canonical spelling; `parse` reads it back."""
    return "+".join(map(str, stages))


def with_flags(stages: Sequence[Stage], flags: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages with the values of the older flags as keys.

    `flags`: name without dashes -> value or None.

    UserError where a flag is out of the key's range, or says something else than a key that is
    written.
    """
    return tuple(Stage(one.name, one.values | _values_of_flags(one, flags)) for one in stages)


def _values_of_flags(stage: Stage, flags: Mapping[str, Any]) -> dict[str, Value]:
    found = {}
    for name, one in stage.kind.keys().items():
        given = flags.get(one.flag)
        if given is None:
            continue
        try:
            found[name] = one.read(given)
        except UserError:
            raise UserError(f"--{one.flag} {given}: {stage.name} needs {one.range()}") from None
        if stage.values.get(name, given) != given:
            raise UserError(
                f"--{one.flag} {given} contradicts {name}={spell(stage.values[name])} of"
                f" {stage.name}: give one"
            )
    return found


def picks(text: str | None) -> bool:
    """True if the chain ends in a pick from a pool."""
    return bool(text) and parse(text)[-1].picks


def build(chain: str | Sequence[Stage], spec: DatasetSpec, settings: MixSettings) -> Augmentation:
    """The augmentation that `chain` names.

    UserError if it is malformed or does not suit the data set.
    """
    built: list[Augmentation] = []
    for stage in parse(chain) if isinstance(chain, str) else chain:
        try:
            one = stage.kind(spec, settings, **stage.values)
        except UserError as error:
            raise UserError(f"{stage}: {error}") from None
        if isinstance(one, PoolOfChain) and built:
            one.inner = joined(built)
            built = []
        built.append(one if one.p == 1 or one.draws_its_p else Sometimes(one))
    return joined(built)


def joined(stages: list[Augmentation]) -> Augmentation:
    return stages[0] if len(stages) == 1 else Chain(stages)


class Chain(Augmentation):
    """Stages one after the other."""

    def __init__(self, stages: Sequence[Augmentation]) -> None:
        super().__init__(stages[0].spec, stages[0].settings)
        self.stages = stages

    def start_epoch(self, epoch: int) -> None:
        for stage in self.stages:
            stage.start_epoch(epoch)

    def sample(self, batch_size: int, generator: torch.Generator) -> list[Any]:
        return [stage.sample(batch_size, generator) for stage in self.stages]

    def apply(self, images: torch.Tensor, draw: list[Any]) -> Augmented:
        view = Augmented(images)
        for stage, one in zip(self.stages, draw):
            assert view.partner is None and view.source is None, "a stage that mixes says so: mixes"
            view = stage.apply(view.images, one)
        return view


class CoinDraw(NamedTuple):
    """heads: (1,) or (B,) bool, whether the stage happens. draw: the stage's own."""

    heads: torch.Tensor
    draw: Any


class Sometimes(Augmentation):
    """A stage that happens with probability p: one coin a batch, or one an image."""

    def __init__(self, stage: Augmentation) -> None:
        super().__init__(stage.spec, stage.settings, draw=stage.draw, p=stage.p)
        self.stage = stage

    def start_epoch(self, epoch: int) -> None:
        self.stage.start_epoch(epoch)

    def sample(self, batch_size: int, generator: torch.Generator) -> CoinDraw:
        heads = torch.rand(self.draws(batch_size), generator=generator) < self.p
        return CoinDraw(heads, self.stage.sample(batch_size, generator))

    def apply(self, images: torch.Tensor, draw: CoinDraw) -> Augmented:
        view = self.stage.apply(images, draw.draw)
        if bool(draw.heads.all()):  # on the CPU: no wait
            return view
        heads = view.own(draw.heads.expand(len(images)).to(images.device, non_blocking=True))
        mixed = torch.where(heads[:, None, None, None], view.images, view.own(images))
        lam = None if view.lam is None else torch.where(heads, view.lam, 1.0)
        shares = None if view.shares is None else view.shares * heads[:, None]
        return Augmented(mixed, view.partner, lam, view.source, shares)
