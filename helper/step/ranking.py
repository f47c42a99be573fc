"""The order of second views by T. stddev: which is lowest, what is tied, what is to be left out.

All schemes are measured on the same batches, so that they can be compared in pairs, with most of
the error gone. `Ranking` looks at the pairs now and then, and drops what it need not measure any
longer. Every decision together is wrong with a probability of 1 - confidence at most: each look at
each pair has an equal share of it (Bonferroni).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from helper.errors import UserError
from helper.step.guard import Guard, Verdict
from helper.step.intervals import Interval
from helper.step.view_stats import ViewStatistics, difference

Question = Literal["best", "order", "budget"]
LOOKS = 16
"""How often the pairs may be looked at: at `look_at` steps, and at the end of each budget."""
FIRST_LOOK, GROWTH = 16, 1.6


def look_at(number: int) -> float:
    """The steps after which look `number`, counted from 0, is due."""
    return round(FIRST_LOOK * GROWTH**number) if number < LOOKS - 1 else math.inf


@dataclass(frozen=True)
class Row:
    """The results of one scheme. Each interval alone has the ranking's confidence."""

    scheme: str
    verdict: Verdict
    group: int | None
    """1 for the lowest T. stddev; schemes of one group are tied. None for what is not ranked."""
    steps: int
    published: float
    """T. stddev as `train_student.py` measures it in as many steps."""
    t_stddev: Interval
    to_best: Interval
    """T. stddev less that of the first row, paired."""
    consistency: Interval
    balance: Interval
    information: Interval
    teacher_top1: float


class Ranking:
    """Schemes measured side by side.

    for each batch: for each scheme in `live`: `update`, once; then `if ranking.is_due() and
    ranking.look(): break`.
    """

    def __init__(
        self,
        schemes: Iterable[str],
        num_classes: int,
        *,
        until: Question = "best",
        guard: Guard | None = None,
        confidence: float = 0.95,
        device: torch.device | str = "cpu",
    ) -> None:
        """until: "best" drops what cannot be the lowest, "order" what has its place, "budget"
        nothing.

        ValueError if a scheme is named twice.
        """
        names = list(schemes)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"scheme {twice!r} is named twice")
        self.until, self.guard, self.confidence = until, guard or Guard(), confidence
        self.statistics = {name: ViewStatistics(num_classes, device) for name in names}
        self.live = names
        """Those that are still measured."""
        self.looks = 0
        self.lower: set[tuple[str, str]] = set()
        """(a, b): a has the lower T. stddev."""

    @property
    def steps(self) -> int:
        return max(statistics.steps for statistics in self.statistics.values())

    def update(
        self,
        scheme: str,
        clean: torch.Tensor,
        view: torch.Tensor,
        mixed: torch.Tensor | None = None,
        *,
        hits: torch.Tensor | None = None,
    ) -> None:
        """One step of one scheme; see `ViewStatistics.update`."""
        self.statistics[scheme].update(clean, view, mixed, hits=hits)

    def is_due(self) -> bool:
        return self.steps >= look_at(self.looks)

    def look(self) -> bool:
        """Compare the pairs, drop what is settled. True once the question is answered.

        After `LOOKS` looks nothing is settled any more: a further one would have no share of the
        confidence.
        """
        if self.looks == LOOKS:
            return False
        self.looks += 1
        verdicts = self.verdicts(self._level(len(self.statistics)))
        contenders = [name for name in self.live if may_win(verdicts[name])]
        ranked = self.by_t_stddev(n for n in contenders if verdicts[n].name == "ranked")
        if self.until == "order":
            return self._settle_order(contenders, [n for n, v in verdicts.items() if may_win(v)])
        # What may yet turn out to be unproven drops nothing: its victims would be missed.
        plain = self.verdicts()
        safe = [n for n in ranked if plain[n].name == "ranked" and not plain[n].is_open][:1]
        for leader in {*ranked[:1], *safe}:
            self._compare((leader, other) for other in contenders if other != leader)
        if self.until == "budget":
            return False
        self.live = [name for name in contenders if not any(self.is_lower(s, name) for s in safe)]
        return self.live == safe or not self.live

    def _settle_order(self, contenders: Sequence[str], everyone: Sequence[str]) -> bool:
        self._compare((a, b) for a in contenders for b in everyone if a != b)
        self.live = [a for a in contenders if any(self.is_tied(a, b) for b in everyone if a != b)]
        return not self.live

    def verdicts(self, confidence: float | None = None) -> dict[str, Verdict]:
        level = self.confidence if confidence is None else confidence
        return {name: self.guard.verdict(name, s, level) for name, s in self.statistics.items()}

    def by_t_stddev(self, names: Iterable[str]) -> list[str]:
        """Lowest first, by what has been measured so far."""
        values = {name: self.statistics[name].measure("t_stddev").value for name in names}
        return sorted(values, key=lambda name: (math.isnan(values[name]), values[name]))

    def is_lower(self, a: str, b: str) -> bool:
        """Whether it is known that a has the lower T. stddev: they were compared, or others between
        them were."""
        known, new = {a}, {a}
        while new:
            new = {second for first, second in self.lower if first in new} - known
            known |= new
        return b in known and a != b

    def is_tied(self, a: str, b: str) -> bool:
        return not (self.is_lower(a, b) or self.is_lower(b, a))

    def _level(self, comparisons: int) -> float:
        """The confidence that each comparison of each look needs."""
        return 1 - (1 - self.confidence) / (LOOKS * max(1, comparisons))

    def _compare(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Settle what can be settled of the pairs that are tied."""
        count = len(self.statistics)
        most = count * (count - 1) // 2
        level = self._level(most if self.until == "order" else min(most, 2 * (count - 1)))
        for a, b in pairs:
            if self.is_tied(a, b):
                found = difference(self.statistics[a], self.statistics[b], level)
                if found.high < 0:
                    self.lower.add((a, b))
                elif found.low > 0:
                    self.lower.add((b, a))

    def groups(self, ranked: Sequence[str]) -> list[list[str]]:
        """Lowest first. Of two schemes in different groups it is known which is lower."""
        pairs = [(a, b) for index, a in enumerate(ranked) for b in ranked[index + 1 :]]
        level = self._level(max(len(pairs), 2 * len(self.statistics)))
        tied = {name: {name} for name in ranked}
        for a, b in pairs:
            if self.is_tied(a, b):
                found = difference(self.statistics[a], self.statistics[b], level)
                if not (found.high < 0 or found.low > 0):
                    together = tied[a] | tied[b]
                    tied.update(dict.fromkeys(together, together))
        groups: list[list[str]] = []
        for name in self.by_t_stddev(ranked):
            if not any(name in group for group in groups):
                groups.append(self.by_t_stddev(tied[name]))
        return groups

    def table(self) -> list[Row]:
        """Ranked schemes first, lowest T. stddev first; then the unproven; then those without
        signal."""
        verdicts = self.verdicts()
        groups = self.groups([name for name, v in verdicts.items() if v.name == "ranked"])
        of = {name: number for number, group in enumerate(groups, 1) for name in group}
        others = [
            name
            for kind in ("unproven", "no signal")
            for name in self.by_t_stddev(n for n, v in verdicts.items() if v.name == kind)
        ]
        names = [name for group in groups for name in group] + others
        return [self._row(name, verdicts[name], of.get(name), names[0]) for name in names]

    def _row(self, name: str, verdict: Verdict, group: int | None, first: str) -> Row:
        statistics = self.statistics[name]

        def measured(measure: str) -> Interval:
            return statistics.measure(measure, self.confidence)

        return Row(
            scheme=name,
            verdict=verdict,
            group=group,
            steps=statistics.steps,
            published=statistics.published.value()[0],
            t_stddev=measured("t_stddev"),
            to_best=difference(statistics, self.statistics[first], self.confidence),
            consistency=measured("consistency"),
            balance=measured("balance"),
            information=measured("information"),
            teacher_top1=measured("teacher_top1").value,
        )

    def best(self) -> str | None:
        """The scheme that is lower than every other that is ranked or may be; None if there is a
        tie."""
        verdicts = self.verdicts()
        contenders = [name for name, verdict in verdicts.items() if may_win(verdict)]
        ranked = [name for name in contenders if verdicts[name].name == "ranked"]
        for name in self.by_t_stddev(ranked)[:1]:
            others = [other for other in contenders if other != name]
            if all(self.is_lower(name, other) for other in others):
                return name
        return None

    def state_dict(self) -> dict[str, Any]:
        """To go on later, bit for bit, in a ranking of the same schemes."""
        return {
            "live": list(self.live),
            "looks": self.looks,
            "lower": sorted(self.lower),
            "statistics": {name: s.state_dict() for name, s in self.statistics.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.live, self.looks = list(state["live"]), state["looks"]
        self.lower = {(a, b) for a, b in state["lower"]}
        for name, statistics in self.statistics.items():
            statistics.load_state_dict(state["statistics"][name])


def may_win(verdict: Verdict) -> bool:
    """Ranked, or it may be with more steps."""
    return verdict.name == "ranked" or verdict.is_open
