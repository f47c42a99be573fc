"""The task of train_teacher.py: train a network on labels, and write it in the public layout."""

from pathlib import Path

from helper import speed
from helper.cli.parser import Options
from helper.loop.state import TrainingState
from helper.loop.training import fit
from helper.processes import distributed
from helper.run.checkpoint import save_keeping_old
from helper.run.folder import RunFolder
from helper.run.resume import teacher_path
from helper.setup import plan
from helper.setup.networks import describe
from helper.setup.optimisation import loop_settings, make_optimizer
from helper.setup.scene import Scene
from helper.setup.views import make_augmentation
from helper.step.distill import LabelStep


class Teaching:
    """Training on labels."""

    has_teacher = False
    resume_flag = "--resume"

    def __init__(self, scene: Scene) -> None:
        options, spec = scene.options, scene.spec
        self.scene, self.settings = scene, loop_settings(options)
        self.augment, self.target = make_augmentation(options, spec), teacher_path(options)
        self.state = TrainingState(
            model=scene.student,
            optimizer=make_optimizer(options, scene.student),
            generators={name: scene.generators[name] for name in ("data", "views")},
            description=describe(scene.student_name, spec),
        )

    @staticmethod
    def product(options: Options) -> Path:
        return teacher_path(options)

    def plan(self) -> list[str]:
        scene = self.scene
        return [
            plan.describe_network(
                "network", scene.student_name, scene.student, scene.spec.img_size
            ),
            plan.describe_teacher_job(scene.options, self.target),
        ]

    def prepare(self) -> list[str]:
        return speed.prepare(None, self.scene.student, self.scene.wanted()).lines

    def go(self, run: RunFolder) -> None:
        step = LabelStep(
            distributed.parallel(self.scene.student),
            self.augment,
            self.scene.generators["views"],
            amp=self.settings.amp,
            label_smoothing=self.scene.options.label_smoothing,
        )
        splits = self.scene.splits._asdict()
        fit(
            self.state,
            step,
            **splits,
            settings=self.settings,
            run=run,
            at_end=lambda: self.write(run),
        )
        if not self.target.exists():  # it was removed since
            self.write(run)

    def write(self, run: RunFolder) -> None:
        """The weights as --path_t reads them; a file that is there is kept under another name."""
        if distributed.is_first():
            kept = save_keeping_old(self.target, self.state.weights())
            note = f" (what was there is now {kept.name})" if kept else ""
            run.log(f"teacher written: {self.target}{note}")
