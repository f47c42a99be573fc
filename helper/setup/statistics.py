"""The statistics of the teacher that a command asks for."""

from typing import NamedTuple

from helper.setup.scene import Scene
from helper.step.teacher_stats import CovarianceMeans, CrossEntropyCovariance, TeacherStddev


class Statistics(NamedTuple):
    """None: not asked for."""

    stddev: TeacherStddev | None
    covariance: CovarianceMeans | None
    cross_entropy: CrossEntropyCovariance | None


def make_statistics(scene: Scene) -> Statistics | None:
    """None if the command asks for none."""
    facts, device = scene.options.facts, scene.device
    if not facts.checks:
        return None
    is_divided = scene.options.fix_student and facts.measures_rows
    stddev = TeacherStddev(scene.spec.num_classes, device, is_divided=is_divided)
    return Statistics(
        stddev if "v1" in facts.checks else None,
        CovarianceMeans(device) if "v2" in facts.checks else None,
        CrossEntropyCovariance(device=device) if "v3" in facts.checks else None,
    )
