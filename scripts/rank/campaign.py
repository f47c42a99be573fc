"""The stages of a ranking or a search, one after the other; each continues the batches.

A plain ranking is a race and its finals: what is lowest of many looks better than it is, so the
first few are measured again on fresh batches. A search begins with short stages that most
candidates do not survive. What is known so far goes to a file now and then, whole or not at all;
the same command goes on from there.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from dataset.streamed import AnyBatches
from helper.errors import UserError
from helper.loop.state import RunState
from helper.processes import distributed, interruption
from helper.run.checkpoint import save_checkpoint
from helper.run.read import read_checkpoint
from helper.step.guard import Guard
from helper.step.ranking import Question, Ranking
from scripts.rank.measuring import Costs, Networks, Viewing, endless, generators_of
from scripts.rank.schemes import Scheme

SAVE_SECONDS, PROGRESS_SECONDS = 20.0, 10.0
RACE, FINALS = "race", "finals"
"""Names of stages."""


@dataclass(frozen=True)
class Plan:
    """A stage that is to come."""

    name: str
    schemes: tuple[str, ...]
    until: Question
    steps: int
    """At the most."""
    seconds: float = float("inf")
    """At the most, since the start of the whole."""

    def is_beyond(self, other: "Plan") -> bool:
        """True if it may measure longer."""
        return self.steps > other.steps or self.seconds > other.seconds


@dataclass
class Stage:
    """A stage under way, or behind us."""

    plan: Plan
    ranking: Ranking
    costs: Costs = field(default_factory=Costs)
    steps: int = 0
    seconds: float = 0.0
    is_done: bool = False
    is_answered: bool = False
    """Whether more steps would tell nothing new."""

    def state_dict(self) -> dict[str, Any]:
        return {
            "plan": asdict(self.plan),
            "ranking": self.ranking.state_dict(),
            "costs": self.costs.state_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
            "is_done": self.is_done,
            "is_answered": self.is_answered,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ranking.load_state_dict(state["ranking"])
        self.costs.load_state_dict(state["costs"])
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.is_done, self.is_answered = state["is_done"], state["is_answered"]


@dataclass(frozen=True)
class Measured:
    """The things that all stages share: networks, data, and how verdicts are made."""

    networks: Networks
    batches: AnyBatches
    data_generator: torch.Generator
    num_classes: int
    seed: int
    make_scheme: Callable[[str], Scheme]
    guard: Guard
    confidence: float


Planner = Callable[[Sequence[Stage]], Plan | None]
"""The stages behind us -> the next one, or None at the end. A pure function: a resumed campaign
asks again."""


class Campaign:
    """Stages as `planner` asks for them. `on_progress` is called now and then."""

    def __init__(
        self,
        measured: Measured,
        planner: Planner,
        *,
        settings: dict[str, Any],
        file: Path,
        on_progress: Callable[["Campaign"], None],
    ) -> None:
        """`settings`: what the file's must be equal to; `file` is read if it exists.

        UserError if they differ.
        """
        self.measured, self.planner, self.on_progress = measured, planner, on_progress
        self.settings, self.file = settings, file
        self.stages: list[Stage] = []
        self.state = RunState(generators={"data": measured.data_generator})
        self.viewing: Viewing | None = None
        self.is_resumed = file.exists()
        self._last_saved = self._last_progress = time.monotonic()
        if self.is_resumed:
            self._load(read_checkpoint("state file", file))

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def images(self) -> int:
        """Training images in the batches so far."""
        return sum(stage.steps for stage in self.stages) * self.measured.batches.batch_size

    def run(self) -> list[Stage]:
        """To the end. On a signal the state is saved first."""
        try:
            with interruption.between_steps_only():
                stream = endless(self.state, self.measured.batches)
                while (stage := self._current()) is not None:
                    self._carry_out(stage, stream)
        except interruption.Interrupted:
            self.save()
            raise
        self.save()
        return self.stages

    def _current(self) -> Stage | None:
        """The stage under way, or the next one."""
        if self.stages and not self.stages[-1].is_done:
            return self.stages[-1]
        plan = self.planner(self.stages)
        if plan is None:
            return None
        stage = self._open(plan)
        self.stages.append(stage)
        return stage

    def _open(self, plan: Plan) -> Stage:
        measured, number = self.measured, len(self.stages)
        schemes = [measured.make_scheme(name) for name in plan.schemes]
        generators = generators_of(schemes, measured.seed, number)
        ranking = Ranking(
            plan.schemes,
            measured.num_classes,
            until=plan.until,
            guard=measured.guard,
            confidence=measured.confidence,
            device=measured.batches.device,
        )
        stage = Stage(plan, ranking)
        for earlier in self.stages:
            if earlier.plan.name == plan.name == RACE:  # under a larger budget it goes on
                ranking.load_state_dict(earlier.ranking.state_dict())
                stage.costs.load_state_dict(earlier.costs.state_dict())
        self.viewing = Viewing(measured.networks, schemes, generators, stage.costs)
        views = {f"views {pool}": generator for pool, generator in generators.items()}
        self.state.generators = {"data": measured.data_generator} | views
        return stage

    def _carry_out(self, stage: Stage, stream: Iterator) -> None:
        assert self.viewing is not None  # made with the stage
        start, before = time.monotonic(), stage.seconds
        earlier = self.seconds - before
        for epoch, (images, labels, _) in stream:
            if time.monotonic() - self._last_saved > SAVE_SECONDS:
                self.save()
            self.viewing.start_epoch(epoch)
            self.viewing(images, labels, stage.ranking)
            stage.steps += 1
            stage.seconds = before + time.monotonic() - start
            is_over = distributed.agreed(earlier + stage.seconds > stage.plan.seconds)
            is_last = stage.steps >= stage.plan.steps or is_over
            if is_last or stage.ranking.is_due():
                stage.is_answered = stage.ranking.look()
                stage.is_done = stage.is_answered or is_last
            if time.monotonic() - self._last_progress > PROGRESS_SECONDS:
                self._last_progress = time.monotonic()
                self.on_progress(self)
            if stage.is_done:
                return

    def save(self) -> None:
        """One process writes."""
        self._last_saved = time.monotonic()
        if distributed.is_first():
            stages = [stage.state_dict() for stage in self.stages]
            content = {"settings": self.settings, "stages": stages, "run": self.state.state_dict()}
            save_checkpoint(self.file, content)

    def _load(self, saved: dict[str, Any]) -> None:
        check_settings(self.file, saved.get("settings"), self.settings)
        try:
            for state in saved["stages"]:
                plan = Plan(**state["plan"] | {"schemes": tuple(state["plan"]["schemes"])})
                self.stages.append(self._open(plan))
                self.stages[-1].load_state_dict(state)
            if self.stages and not self.stages[-1].is_done:  # under this command's limits
                stage, plan = self.stages[-1], self.planner(self.stages[:-1])
                stage.plan = plan if plan and plan.name == stage.plan.name else stage.plan
            self.state.load_state_dict(saved["run"])
        except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{self.file} is no state of a ranking ({reason})") from None


def check_settings(file: Path, found: Any, wanted: dict[str, Any]) -> None:
    """UserError that names what differs: measurements under different settings do not mix."""
    if not isinstance(found, dict):
        raise UserError(f"{file} is no state of a ranking: give another -o FILE")
    for name, value in wanted.items():
        if found.get(name) != value:
            raise UserError(
                f"{file} has {name} {found.get(name)}, this command has {value}: measurements of "
                "both do not mix; "
                "give another -o FILE, or remove this file"
            )
