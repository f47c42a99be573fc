"""A search: short stages that few candidates survive, new ones near those, then a race.

Successive halving (K. Jamieson and A. Talwalkar, "Non-stochastic Best Arm Identification and
Hyperparameter Optimization", AISTATS 2016, arXiv 1502.07943) on the candidates' T. stddev, with the
guard in front.
"""

from collections.abc import Callable, Sequence

from helper.step.ranking import FIRST_LOOK, GROWTH
from scripts.rank.campaign import Plan, Planner, Stage
from scripts.rank.planning import Limits, plan_after_race, plan_race
from scripts.rank.schemes import canonical
from scripts.rank.space import Candidate, Space

KEPT = 1 / 3
"""The share of a round's candidates that is kept."""
FEWEST_KEPT, RACERS = 4, 8
CONTROLS = ("identity", "cutmix", "cutmix_pick:criterion=teacher_entropy")
"""They run in every race, to say what the search gained."""
ROUNDS_SHARE = 0.5
"""The rounds' share of the budget."""
FEWEST_STEPS = 6
"""The fewest steps of a round, however small the budget: with fewer the intervals are too wide."""


def search_planner(
    space: Space, seed: int, limits: Limits, suits: Callable[[str], bool]
) -> Planner:
    """`suits`: whether a scheme can be made for this data set."""

    def named(candidates: Sequence[Candidate]) -> dict[str, Candidate]:
        """By canonical spelling, those that suit."""
        found = {canonical(candidate.scheme): candidate for candidate in candidates}
        return {name: candidate for name, candidate in found.items() if suits(name)}

    def survivors(stages: Sequence[Stage]) -> tuple[list[str], dict[str, Candidate]]:
        """The best of the rounds so far, and all candidates known after them."""
        known, kept = named(space.candidates(seed)), []
        for number, stage in enumerate(stages, 1):
            kept = [name for name in best_of(stage) if name in known]
            known |= named(space.near([known[name] for name in kept], seed, number))
        return kept, known

    def plan(stages: Sequence[Stage]) -> Plan | None:
        rounds = space.rounds + 1
        if len(stages) > rounds:
            return plan_after_race(stages, limits)
        kept, known = survivors(stages)
        if len(stages) == rounds:
            racers = list(dict.fromkeys([*CONTROLS, *kept[:RACERS]]))
            return plan_race(racers, "best", limits, stages)
        before = set().union(*(stage.plan.schemes for stage in stages)) if stages else set()
        fresh = [name for name in known if name not in before]
        schemes = dict.fromkeys(["identity", *kept, *fresh])
        steps = steps_of_rounds(rounds, limits.steps)[len(stages)]
        name = f"round {len(stages) + 1} of {rounds}"
        return Plan(name, tuple(schemes), "budget", steps, ROUNDS_SHARE * limits.seconds)

    return plan


def steps_of_rounds(rounds: int, most: int) -> list[int]:
    """Each round is longer than the one before. most: steps of the whole search."""
    wanted = [FIRST_LOOK * GROWTH**number for number in range(rounds)]
    factor = min(1.0, ROUNDS_SHARE * most / sum(wanted))
    return [max(FEWEST_STEPS, round(factor * steps)) for steps in wanted]


def best_of(stage: Stage) -> list[str]:
    """The survivors of a round: a third of those that pass the guard, lowest T. stddev first."""
    verdicts = stage.ranking.verdicts()
    passed = stage.ranking.by_t_stddev(n for n, v in verdicts.items() if v.name == "ranked")
    passed = [name for name in passed if name != "identity"]
    return passed[: max(FEWEST_KEPT, round(KEPT * len(stage.plan.schemes)))]
