"""Shows a run's views to the statistics of the teacher, and logs them."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from helper.errors import RunFault
from helper.run.log_lines import CHECK, PLACE
from helper.run.folder import RunFolder
from helper.step.passes import TwoViews, logits_of
from helper.step.teacher_stats import (
    CovarianceMeans,
    CrossEntropyCovariance,
    RunningSums,
    TeacherStddev,
)

COVARIANCE_PRINT_STEPS = 10


@dataclass
class TeacherProbe:
    """Shows each step's views to the statistics asked for, and logs their values when it is due.

    Called once a step, in the pass and, with --utils.check_ce_var while training, in the training
    loop.
    """

    steps_per_epoch: int
    stddev: TeacherStddev | None = None
    covariance: CovarianceMeans | None = None
    cross_entropy: CrossEntropyCovariance | None = None
    student: nn.Module | None = None
    """Needed by check_ce_var_v3 alone."""
    amp: bool = False
    run_or_none: RunFolder | None = None
    """Set before the first step."""
    total_step: int = -1
    """The last step taken in, counted from 0 over all epochs."""
    interval: int = 1

    @property
    def run(self) -> RunFolder:
        assert self.run_or_none is not None
        return self.run_or_none

    @run.setter
    def run(self, run: RunFolder) -> None:
        self.run_or_none = run

    @torch.no_grad()
    def __call__(self, step: int, images: torch.Tensor, seen: TwoViews) -> None:
        self.total_step = step
        logits = [seen.teacher_clean] + ([] if seen.teacher_view is None else [seen.teacher_view])
        probabilities = [view.softmax(dim=1) for view in logits]
        if self.stddev is not None and self.stddev.update(*probabilities):
            self._log_stddev(self.stddev)
        if self.covariance is not None:
            self.covariance.update(*reversed(probabilities))  # the mixed view's rows come first
            if self.total_step % COVARIANCE_PRINT_STEPS == 0:
                self._log_covariance(self.covariance)
        if self.cross_entropy is not None and not self.cross_entropy.full:
            assert self.student is not None
            views = [images] + ([] if seen.view is None else [seen.view.images])
            for view, teacher_logits in zip(views, logits):
                self.cross_entropy.update(
                    teacher_logits, logits_of(self.student, view, amp=self.amp)
                )
            if self.cross_entropy.full:
                self.log_cross_entropy(self.cross_entropy)

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {
            "total_step": self.total_step,
            **{name: statistic.state_dict() for name, statistic in self._statistics().items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total_step = state["total_step"]
        for name, statistic in self._statistics().items():
            statistic.load_state_dict(state[name])

    def _statistics(self) -> dict[str, RunningSums]:
        """Those asked for, by attribute."""
        names = ("stddev", "covariance", "cross_entropy")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def finished(self) -> bool:
        """Nothing more to learn: check_ce_var_v3 was the only question, and it is answered."""
        statistic = self.cross_entropy
        alone = self.stddev is None and self.covariance is None
        return alone and statistic is not None and statistic.full

    def _place(self) -> dict[str, int]:
        epoch, step = divmod(self.total_step, self.steps_per_epoch)
        return {"epoch": epoch + 1, "step": step, "total_step": self.total_step}

    def _where(self) -> str:
        return PLACE.format(**self._place())

    def _log_stddev(self, stddev: TeacherStddev) -> None:
        value, entropy = stddev.value()
        groups = stddev.groups
        if not math.isfinite(entropy):
            raise RunFault(
                f"{self._where()}: the teacher's mean entropy is {entropy}: its outputs are not"
                " finite"
            )
        values = {"groups": groups, "t_stddev": value, "entropy": entropy}
        self.run.log(CHECK.format(**self._place(), **values))
        self.run.record(
            "t_stddev", groups=groups, step=self.total_step, t_stddev=value, entropy=entropy
        )
        self.run.scalars(groups, {"t_stddev": value, "teacher_entropy": entropy})

    def _log_covariance(self, covariance: CovarianceMeans) -> None:
        values = covariance.value()
        for matrix in ("Cov", "Corr"):
            shown = " ".join(
                f"{name} {value:.8f}" for name, value in values.items() if name.startswith(matrix)
            )
            self.run.log(f"Check T prob V2: {self._where()} {shown}")
        self.run.record("covariance", step=self.total_step, **values)

    def log_cross_entropy(self, statistic: CrossEntropyCovariance) -> None:
        exact, approximate = statistic.value()
        vectors = statistic.count // statistic.width
        self.run.log(
            f"Check Covariance: NumOfSamples {vectors} {self._where()} Cov {exact:.10f} Cov_approx"
            f" {approximate:.10f}"
        )
        self.run.record("cross_entropy_covariance", vectors=vectors, step=self.total_step,
                        covariance=exact, approximation=approximate)  # fmt: skip

    def summary(self) -> dict[str, float]:
        """The values at the end of a pass."""
        values = {}
        if self.stddev is not None:
            values["t_stddev"], values["entropy"] = self.stddev.value()
        if self.covariance is not None:
            values.update(self.covariance.value())
        if self.cross_entropy is not None:
            values["covariance"], values["covariance_approx"] = self.cross_entropy.value()
        return values
