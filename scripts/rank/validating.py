"""Students under the winner and the schemes that it has to beat: did the promise hold?"""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from distiller_zoo import distillers
from helper.cli.options import parse_student
from helper.cli.parser import Options
from helper.errors import RunFault, UserError, unknown_name
from helper.run.same import last_records
from models import model_dict
from scripts.rank.command_line import student_words
from scripts.rank.output import Report
from scripts.sweep.jobs import Job, key_of
from scripts.sweep.running import Sweep
from scripts.sweep.states import make_folder

COMPARED = ("path_t", "model_s", "distill", "mix_mode", "mix_draw", "seed", "trial")
"""Options of a student that tell what is compared."""
RIVALS = ("identity", "cutmix", "cutmix_pick:criterion=teacher_entropy")


@dataclass(frozen=True)
class Validation:
    """The students to train. method, model: of --validate; seeds: students of each scheme."""

    method: str
    model: str
    seeds: int
    flags: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, seeds: int, flags: str) -> "Validation":
        """ "kd:resnet8". UserError if it is something else."""
        method, colon, model = text.partition(":")
        if not colon:
            raise UserError(f"--validate {text!r}: expected METHOD:MODEL, such as kd:resnet8")
        if method not in distillers:
            raise unknown_name("distiller", method, distillers)
        if model not in model_dict:
            raise unknown_name("model", model, model_dict)
        return cls(method, model, seeds, tuple(flags.split()))


def jobs_of(
    validation: Validation, options: Options, teacher: str, winner: str
) -> dict[str, list[Job]]:
    """By scheme, one job a seed. UserError on bad flags."""
    schemes = dict.fromkeys([winner, *RIVALS])
    return {
        scheme: [
            make_job(validation, options, teacher, scheme=scheme, seed=seed)
            for seed in range(1, validation.seeds + 1)
        ]
        for scheme in schemes
    }


def make_job(
    validation: Validation, options: Options, teacher: str, *, scheme: str, seed: int
) -> Job:
    words = student_words(options, scheme, validation.method, validation.model)
    words += ["--trial", str(seed), "--seed", str(seed)]
    wanted = parse_student(words)
    words += validation.flags
    parsed = parse_student(words)
    for name in COMPARED:
        if getattr(parsed, name) != getattr(wanted, name):
            raise UserError(f"--validate_flags: --{name} is given already, leave it out")
    pair = f"{teacher}/{validation.model}"
    return Job("train", pair, scheme, str(seed), tuple(words), parsed.epochs, key_of(vars(parsed)))


def validate(validation: Validation, report: Report, winner: str) -> list[str]:
    """Train what is not trained yet, in ./Experiments. Returns what was found, in words.

    RunFault if a run failed.
    """
    jobs = jobs_of(validation, report.options, report.teacher, winner)
    count = sum(map(len, jobs.values()))
    print(f"validation: {count} students {validation.model} by {validation.method}", flush=True)
    make_folder()
    sweep = Sweep([job for of in jobs.values() for job in of], slots=min(os.cpu_count() or 1, 6))
    if sweep.run():
        raise RunFault("validation: not all students were trained; the same command goes on")
    losses = {scheme: [loss_of(sweep, job) for job in of] for scheme, of in jobs.items()}
    return verdict(winner, losses)


def loss_of(sweep: Sweep, job: Job) -> float:
    """S. test loss of the last epoch."""
    state = sweep.runs.state_of(job)
    if state.name != "done" or state.run is None:
        raise RunFault(f"validation: {job} is {state.name}; the same command goes on")
    return last_records(state.run)["epoch"]["test_loss"]


def verdict(winner: str, losses: Mapping[str, Sequence[float]]) -> list[str]:
    """Lines: each scheme's S. test loss, and whether the winner's is lower, paired by seed."""
    lines = [
        f"S. test loss of {scheme}: {statistics.fmean(values):.4f}"
        + (f" +- {statistics.stdev(values):.4f}" if len(values) > 1 else "")
        + f" ({len(values)} seeds)"
        for scheme, values in losses.items()
    ]
    for rival, values in losses.items():
        if rival != winner:
            lines.append(f"{compared(losses[winner], values)} {rival}")
    return lines


def compared(winner: Sequence[float], rival: Sequence[float]) -> str:
    """The words before the rival's name."""
    gains = [b - a for a, b in zip(winner, rival)]
    mean = statistics.fmean(gains)
    difference = (
        f"the winner's loss is {abs(mean):.4f} {'lower' if mean > 0 else 'higher'} than that of"
    )
    if len(gains) < 2 or statistics.stdev(gains) == 0:
        return f"one seed says nothing certain: {difference}"
    test: Any = stats.ttest_1samp(gains, 0)
    p = float(test.pvalue)
    if p >= 0.05:
        return f"not resolved (p = {p:.2g}): {difference}"
    held = "the promise held" if mean > 0 else "the promise did NOT hold"
    return f"{held} (p = {p:.2g}): {difference}"
