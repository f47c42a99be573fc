"""From a command line to a ranking: opens the scene, runs the campaign, writes results."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from helper import speed
from helper.cli.options import parse_student
from helper.cli.parser import Options
from helper.errors import UserError
from helper.processes import distributed
from helper.run.checkpoint import write_atomically
from helper.run.read import read_checkpoint
from helper.setup import plan as words_for
from helper.setup.machine import select_device
from helper.setup.networks import checksum_of
from helper.setup.scene import Scene, open_scene
from helper.step.guard import BEYOND_PAPER, is_of_paper
from helper.step.ranking import Row
from models import model_dict
from scripts.rank import output
from scripts.rank.campaign import Campaign, Measured, Planner, Stage
from scripts.rank.command_line import DEFAULT_BUDGET, check_file, guard_of, training_words
from scripts.rank.measuring import Networks
from scripts.rank.planning import Limits, conclude, ranking_planner
from scripts.rank.schemes import BEYOND, BY_STUDENT, PUBLISHED, Scheme, make_scheme, make_schemes
from scripts.rank.searching import search_planner
from scripts.rank.space import read_space
from scripts.rank.validating import Validation, jobs_of, validate


def rank(options: Options) -> None:
    """The whole command."""
    asked = options.validate
    validation = Validation.parse(asked, options.seeds, options.validate_flags) if asked else None
    if validation:  # bad flags are told before anything is measured
        jobs_of(validation, options, "", "identity")
    job = RankingJob(options)
    for line in job.opening_lines():
        print(line, flush=True)
    job.campaign.run()
    report = job.report()
    print("\n" + output.as_text(report) + "\n")
    for line in output.conclusion(report):
        print(line)
    print(f"{report.images} training images, {report.seconds:.0f} s of measuring")
    if distributed.is_first():
        job.write(report)
    first = report.result.best or next((r.scheme for r in report.result.rows if r.group), None)
    if first:
        print(f"to train a student under it:\n  {output.training_command(report, first)}")
    if first and validation and distributed.is_first():
        print("\n".join(validate(validation, report, first)))


class RankingJob:
    """A command's scene and campaign."""

    def __init__(self, options: Options) -> None:
        """Build and check everything; write nothing. UserError where something is amiss."""
        self.options, self.guard = options, guard_of(options)
        if options.path_s and not options.model_s:
            options.model_s = model_of_student(options.path_s)
        self.words = training_words(options)
        self.scene = self._open_scene()
        self.pools: dict[str, Scheme] = {}
        self.stem = self._stem()
        planner, what = self._search() if options.search else self._ranking()
        self.campaign = Campaign(
            self._measured(),
            planner,
            settings=self._settings(what),
            file=self.stem.with_name(f"{self.stem.name}.state"),
            on_progress=self._print_progress,
        )

    def _open_scene(self) -> Scene:
        mode = BY_STUDENT if self.options.path_s else "identity"
        training = parse_student([*self.words, f"--mix_mode={mode}"])
        device = select_device(training.device, training.precision)
        distributed.start(device)
        return open_scene(training, device, has_teacher=True)

    def _ranking(self) -> tuple[Planner, dict[str, Any]]:
        """The planner, and what tells this ranking from another."""
        names = [scheme.name for scheme in self._schemes()]
        limits = self._limits(DEFAULT_BUDGET)
        return ranking_planner(names, self.options.until, limits), {"schemes": " ".join(names)}

    def _search(self) -> tuple[Planner, dict[str, Any]]:
        space = read_space(self.options.search)
        limits = self._limits(space.budget)
        planner = search_planner(space, self.scene.options.seed, limits, self._suits)
        try:
            first = planner([])
        except UserError as error:
            raise UserError(f"--search {self.options.search}: {error}") from None
        if first is None or not first.schemes[1:]:
            raise UserError(
                f"--search {self.options.search}: no candidate suits {self.scene.spec.name}"
            )
        return planner, {"space": f"{space.name}: {' '.join(first.schemes)}"}

    def _suits(self, name: str) -> bool:
        """True if the data set has what the scheme needs."""
        try:
            self.scheme(name)
        except UserError:
            return False
        return True

    def _schemes(self) -> list[Scheme]:
        options, has_student = self.options, bool(self.options.path_s)
        texts = options.schemes or (*PUBLISHED, *((BY_STUDENT,) if has_student else ()), *BEYOND)
        schemes = make_schemes(
            texts, self.words, self.scene.spec, has_student=has_student, skips=not options.schemes
        )
        self.pools.update({scheme.name: scheme for scheme in schemes})
        return schemes

    def scheme(self, name: str) -> Scheme:
        """Made once."""
        if name not in self.pools:
            has_student = self.scene.student_or_none is not None
            self.pools[name] = make_scheme(
                name, self.words, self.scene.spec, has_student=has_student
            )
        return self.pools[name]

    def _measured(self) -> Measured:
        scene = self.scene
        prepared = speed.prepare(
            scene.teacher.network, scene.student_or_none, scene.wanted(trains=False)
        )
        assert prepared.teacher is not None  # one was given
        return Measured(
            networks=Networks(prepared.teacher, prepared.student, scene.options.amp),
            batches=scene.splits.train,
            data_generator=scene.generators["data"],
            num_classes=scene.spec.num_classes,
            seed=scene.options.seed,
            make_scheme=self.scheme,
            guard=self.guard,
            confidence=self.options.confidence,
        )

    def _limits(self, default: int) -> Limits:
        steps = max(1, (self.options.budget or default) // self.options.batch_size)
        minutes = self.options.minutes
        return Limits(steps, math.inf if minutes is None else 60 * minutes)

    def _settings(self, what: dict[str, Any]) -> dict[str, Any]:
        """The options that a command and the one that goes on must share."""
        options, training = self.options, self.scene.options
        student = {"student": checksum_of(options.path_s)} if options.path_s else {}
        plugins = {"plugins": " ".join(training.plugin_sha256)} if training.plugin_sha256 else {}
        found = self.scene.identity()
        return (
            {
                "seed": training.seed,
                "teacher": f"{self.scene.teacher.name} {self.scene.teacher.checksum}",
                "draw mode": training.mix_draw,
                "data set": f"{self.scene.spec.name} {found['data_fingerprint']}",
                "batch size": training.batch_size,
                "default DA": training.use_DA,
                "precision": f"{training.precision}{', amp' if training.amp else ''}",
                "question": options.until,
                "confidence": options.confidence,
                "guard": " ".join(f"{name} {least:g}" for name, least in self.guard.floors.items())
                + (", trusted" if self.guard.is_trusted else ""),
            }
            | what
            | student
            | plugins
        )

    def _stem(self) -> Path:
        options = self.options
        given = options.output or options.json
        kind = f"search_{Path(options.search).stem}" if options.search else "ranking"
        trusted = "_trusted" if options.trust_guard else ""
        name = given or f"{kind}_{self.scene.teacher.name}_{self.scene.spec.name}{trusted}.csv"
        if not given:  # what is given was checked with the command line
            check_file("output", Path(name), (".csv",))
        return Path(name).with_suffix("")

    def opening_lines(self) -> list[str]:
        scene, teacher = self.scene, self.scene.teacher
        first = self.campaign.stages[-1] if self.campaign.stages else None
        went_on = f"goes on from {self.campaign.file}, after {self.campaign.images} images"
        return [
            *words_for.describe_data(scene.data, scene.splits),
            words_for.describe_network(
                "teacher",
                teacher.name,
                teacher.network,
                scene.spec.img_size,
                self.options.path_t,
            ),
            *words_for.warn_of_other_data(teacher.trained_on, scene.spec),
            self.guard.summary,
            *([went_on] if first else []),
        ]

    def _print_progress(self, campaign: Campaign) -> None:
        stage = campaign.stages[-1]
        leaders = stage.ranking.by_t_stddev(
            n for n, v in stage.ranking.verdicts().items() if v.name == "ranked"
        )
        leader = leaders[0] if leaders else "unknown"
        left = f", {time_left(stage, campaign)} left of this stage at the most"
        print(
            output.progress(stage.plan.name, stage.ranking.live, leader, campaign.images, left),
            flush=True,
        )

    def report(self) -> output.Report:
        pools = {name: scheme.pool for name, scheme in self.pools.items()}
        result = conclude(self.campaign.stages, pools)
        if not (self.guard.is_proven or self.options.trust_guard):
            result = replace(result, rows=[*map(unproven_beyond_paper, result.rows)])
        return output.Report(
            result,
            self.options,
            self.scene.teacher.name,
            self.scene.spec.name,
            self.guard,
            self.campaign.images,
            self.campaign.seconds,
        )

    def write(self, report: output.Report) -> None:
        """The files, each whole or not at all."""
        from scripts.rank import figure  # matplotlib takes a second

        options = self.options
        table = Path(options.output or f"{self.stem}.csv")
        picture = Path(options.figure or f"{self.stem}.png")
        write_atomically(table, output.as_csv(report).encode())
        if options.json:
            write_atomically(Path(options.json), output.as_json(report).encode())
        figure.draw(output.as_dict(report), picture)
        print(f"table {table}, figure {picture}" + (f", {options.json}" if options.json else ""))


def unproven_beyond_paper(row: Row) -> Row:
    """A search has places for such schemes too; its table says what they are worth."""
    is_ranked = row.verdict.name == "ranked" and not is_of_paper(row.scheme)
    return replace(row, verdict=BEYOND_PAPER) if is_ranked else row


def time_left(stage: Stage, campaign: Campaign) -> str:
    """Until the stage's last step, at the speed so far: "2:05"."""
    steps = (stage.plan.steps - stage.steps) * stage.seconds / max(1, stage.steps)
    seconds = int(max(0.0, min(steps, stage.plan.seconds - campaign.seconds)))
    return f"{seconds // 60}:{seconds % 60:02d}"


def model_of_student(path: str) -> str:
    """UserError if its checkpoint does not say it."""
    name = read_checkpoint("--path_s", path).get("arch")
    if name not in tuple(model_dict):
        raise UserError(f"--path_s {path} does not say which model it is: give --model_s NAME")
    return name
