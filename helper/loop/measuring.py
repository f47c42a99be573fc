"""The task of a T. stddev pass: the training batches and their second views, the teacher's forward,
an accumulator.

No student unless a pick criterion or check_ce_var_v3 asks for one, no validation, no weights: its
checkpoints hold sums.
"""

import time
from collections.abc import Sequence

from dataset.streamed import AnyBatches
from helper import speed
from helper.loop.pictures import ViewPictures
from helper.loop.probe import TeacherProbe
from helper.loop.state import RunState, saved_if_stopped
from helper.loop.teacher_plan import plan_teacher
from helper.loop.training import progress_bar
from helper.cli.parser import Options
from helper.run.log_lines import SUMMARY_VALUE
from helper.run.folder import RunFolder
from helper.setup import plan
from helper.setup.scene import Scene
from helper.setup.statistics import make_statistics
from helper.setup.views import make_views
from helper.step.teacher_stats import GROUP_STEPS
from helper.step.passes import Observer, ViewMaker


class Measuring:
    """Measuring how good a scheme is, from the teacher alone."""

    has_teacher = True
    resume_flag = "--resume_student"

    def __init__(self, scene: Scene) -> None:
        statistics = make_statistics(scene)
        assert statistics is not None  # the parser wants a check with --fix_student
        self.scene = scene
        self.probe = TeacherProbe(
            len(scene.splits.train),
            **statistics._asdict(),
            student=scene.student_or_none,
            amp=scene.options.amp,
        )
        drawn = {name: scene.generators[name] for name in ("data", "views")}
        self.state = RunState(generators=drawn, extra={"probe": self.probe})

    @staticmethod
    def product(options: Options) -> None:
        return None

    def plan(self) -> list[str]:
        return plan_teacher(self.scene, self.scene.student_or_none, methods=None)

    def prepare(self) -> list[str]:
        scene, teacher = self.scene, self.scene.teacher
        prepared = speed.prepare(teacher.network, scene.student_or_none, scene.wanted(trains=False))
        scene.teacher = teacher._replace(
            network=prepared.teacher or teacher.network
        )  # frees the first one's memory
        self.probe.student = prepared.student
        self.views = make_views(
            scene.options,
            scene.spec,
            teacher=scene.teacher.network,
            student=prepared.student,
            generator=scene.generators["views"],
        )
        return prepared.lines

    def go(self, run: RunFolder) -> None:
        options, scheme, state = (
            self.scene.options,
            plan.scheme_name(self.scene.options),
            self.state,
        )
        run.record("job", teacher=self.scene.teacher.name, scheme=scheme, epochs=options.epochs)
        pictures = ViewPictures(run, self.scene.spec, options.save_img_interval)
        self.probe.run = run
        label = f"{self.scene.teacher.name} on {self.scene.spec.name}, {scheme}"
        measure_teacher(
            state,
            self.views,
            self.scene.splits.train,
            self.probe,
            [pictures, self.probe],
            epochs=options.epochs,
            label=label,
        )


def measure_teacher(
    state: RunState,
    views: ViewMaker,
    batches: AnyBatches,
    probe: TeacherProbe,
    observers: Sequence[Observer],
    *,
    epochs: int,
    label: str,
) -> None:
    """Run the pass from the epoch after `state.epoch` to the last one, and end with a summary line.

    `label` says what is measured. The probe is one of the observers; when it has seen enough, the
    pass ends.
    """
    start, run = time.perf_counter(), probe.run
    if state.epoch == epochs:
        run.log(f"nothing to do: all {epochs} epochs are done (more --epochs go on)")
    for epoch in range(state.epoch + 1, epochs + 1):
        views.start_epoch(epoch)
        with saved_if_stopped(state, run, f"epoch {epoch}"):
            for index, (images, *_) in progress_bar(
                state, batches, f"T. stddev, epoch {epoch}/{epochs}"
            ):
                if probe.finished:
                    break
                seen = views(images)
                step = (epoch - 1) * len(batches) + index
                for observer in observers:
                    if step % observer.interval == 0:
                        observer(step, images, seen)
        state.end_pass()
        state.epoch = epochs if probe.finished else epoch
        if state.epoch == epochs:
            log_summary(probe, epoch, label, time.perf_counter() - start)
        run.save(state.state_dict())  # after the summary: with the last checkpoint all is done
        if state.epoch == epochs:
            break


def log_summary(probe: TeacherProbe, epochs: int, label: str, seconds: float) -> None:
    """The end of a pass, in words and numbers; `seconds` since the process began with it."""
    run = probe.run
    if probe.cross_entropy is not None and not probe.cross_entropy.full:
        probe.log_cross_entropy(probe.cross_entropy)
        width = probe.cross_entropy.width
        if probe.cross_entropy.count < 2 * width:
            run.log(
                f"the covariance needs {2 * width} images at least: give more images or --epochs"
            )
    values = probe.summary()
    groups = "" if probe.stddev is None else f", {probe.stddev.groups} groups"
    shown = ", ".join(
        SUMMARY_VALUE.format(t_stddev=value) if name == "t_stddev" else f"{name} {value:.6g}"
        for name, value in values.items()
    )
    steps = probe.total_step + 1
    run.log(f"Summary: {label}: {shown} ({epochs} epochs{groups}, {steps} steps, {seconds:.1f} s)")
    if probe.stddev is not None and probe.stddev.groups < 2:
        run.log(f"T. stddev needs two groups of {GROUP_STEPS} steps: give more images or --epochs")
    run.record("summary", **values, epochs=epochs, steps=steps, seconds=seconds)
