"""The stages of a ranking, and the final decision on its rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from helper.step.ranking import FIRST_LOOK, Question, Row
from helper.step.view_stats import difference
from scripts.rank.campaign import FINALS, RACE, Plan, Planner, Stage

FINALISTS = 3
RACE_SHARE = 2 / 3
"""The race's share of the budget; the finals have the rest."""
FEWEST_FINAL_STEPS = 30


@dataclass(frozen=True)
class Limits:
    """The budget of the whole. steps: training batches; seconds: of measuring."""

    steps: int
    seconds: float = float("inf")


def plan_race(
    schemes: Sequence[str], until: Question, limits: Limits, before: Sequence[Stage] = ()
) -> Plan:
    """A race after the stages `before`, over its share of what they left."""
    share = 1.0 if until == "budget" else RACE_SHARE
    steps = round(share * (limits.steps - sum(stage.steps for stage in before)))
    used = sum(stage.seconds for stage in before)
    seconds = used + share * (limits.seconds - used)
    return Plan(RACE, tuple(schemes), until, max(1, steps), seconds)


def plan_finals(stages: Sequence[Stage], limits: Limits) -> Plan | None:
    """The first few of the race on fresh batches, as many as it took.

    None if nothing is left to measure or to spend.
    """
    race = stages[-1]
    finalists = race.ranking.by_t_stddev(
        name for name, verdict in race.ranking.verdicts().items() if verdict.name == "ranked"
    )[:FINALISTS]
    left = limits.steps - sum(stage.steps for stage in stages)
    if not finalists or race.plan.until == "budget" or left < FIRST_LOOK:
        return None
    schemes = dict.fromkeys(["identity", *finalists])
    steps = min(left, max(race.steps, FEWEST_FINAL_STEPS))
    return Plan(FINALS, tuple(schemes), "budget", steps, limits.seconds)


def plan_after_race(stages: Sequence[Stage], limits: Limits) -> Plan | None:
    """Its finals. Or, if the limits are larger than those that ended it before it was answered, it
    goes on."""
    number, race = last_race(stages)
    wider = plan_race(race.plan.schemes, race.plan.until, limits, stages[:number])
    steps, seconds = (sum(values) for values in zip(*((s.steps, s.seconds) for s in stages)))
    is_left = steps < limits.steps and seconds < limits.seconds
    if is_left and wider.is_beyond(race.plan) and not race.is_answered:
        return plan_race(race.plan.schemes, race.plan.until, limits, stages)
    return plan_finals(stages, limits) if stages[-1] is race else None


def last_race(stages: Sequence[Stage]) -> tuple[int, Stage]:
    """(its number, the race) of the last one."""
    return [(number, one) for number, one in enumerate(stages) if one.plan.name == RACE][-1]


def ranking_planner(schemes: Sequence[str], until: Question, limits: Limits) -> Planner:
    """A race, then its finals."""

    def plan(stages: Sequence[Stage]) -> Plan | None:
        return plan_after_race(stages, limits) if stages else plan_race(schemes, until, limits)

    return plan


@dataclass(frozen=True)
class Result:
    """The result of a campaign."""

    rows: list[Row]
    """Ranked, then unproven, then without signal; lowest T. stddev first in each group."""
    best: str | None
    """None: there is a tie, or nothing is ranked."""
    contenders: list[str]
    """Ranked schemes of which any may be the best: none is known to be lower."""
    costs: dict[str, float]
    """Milliseconds an image, by scheme."""


def conclude(stages: Sequence[Stage], pools: dict[str, str]) -> Result:
    """The last race's order, with its finalists' values from fresh batches.

    pools: scheme -> pool.
    """
    number, race = last_race(stages)
    finals = stages[-1] if len(stages) > number + 1 else None
    rows, best, is_doubtful = race.ranking.table(), race.ranking.best(), False
    if finals is not None and finals.is_done:
        is_doubtful = is_contradicted(best, finals)
        if is_doubtful:
            best, rows = None, join_first_groups(rows)
        fresh = {row.scheme: row for row in finals.ranking.table()}
        rows = in_order([with_fresh(row, fresh.get(row.scheme)) for row in rows])
    contenders = first = [row.scheme for row in rows if row.group == 1]
    if not is_doubtful:
        contenders = [a for a in first if not any(race.ranking.is_lower(b, a) for b in first)]
    costs = {row.scheme: race.costs.per_image(pools[row.scheme]) for row in rows}
    return Result(rows, best, contenders, costs)


def is_contradicted(best: str | None, finals: Stage) -> bool:
    """True if another finalist is lower for certain on the fresh batches."""
    if best is None:
        return False
    statistics = finals.ranking.statistics
    others = [name for name in statistics if name != best]
    return any(difference(statistics[best], statistics[name]).low > 0 for name in others)


def with_fresh(row: Row, fresh: Row | None) -> Row:
    """The race's verdict, group and published value; the rest from fresh batches, if any."""
    if fresh is None:
        return row
    return replace(
        fresh, verdict=row.verdict, group=row.group, steps=row.steps, published=row.published
    )


def in_order(rows: Sequence[Row]) -> list[Row]:
    """By group, then T. stddev; what is not ranked stays where it is."""
    ranked = [row for row in rows if row.group is not None]
    ranked.sort(key=lambda row: (row.group, row.t_stddev.value))
    return ranked + [row for row in rows if row.group is None]


def join_first_groups(rows: Sequence[Row]) -> list[Row]:
    """Groups 1 and 2 as one."""
    return [
        replace(row, group=row.group - 1) if row.group is not None and row.group > 1 else row
        for row in rows
    ]
