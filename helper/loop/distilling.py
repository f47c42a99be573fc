"""The task of distilling a teacher into a student."""

from helper import speed
from helper.loop.initial_stage import InitialStage
from helper.loop.pictures import ViewPictures
from helper.loop.probe import TeacherProbe
from helper.loop.teacher_plan import plan_teacher
from helper.loop.state import TrainingState
from helper.loop.training import fit
from helper.processes import distributed
from helper.cli.parser import Options
from helper.run.folder import RunFolder
from helper.setup import plan
from helper.setup.networks import describe
from helper.setup.methods import make_methods
from helper.setup.optimisation import initial_settings, loop_settings, make_optimizer
from helper.setup.scene import Scene
from helper.setup.statistics import make_statistics
from helper.setup.views import make_views
from helper.step.distill import DistillStep
from helper.step.passes import student_passes


class Distilling:
    """Distillation; an initial stage first, where a method has one."""

    has_teacher = True
    resume_flag = "--resume_student"

    def __init__(self, scene: Scene) -> None:
        options = scene.options
        self.scene, self.settings = scene, loop_settings(options)
        self.methods = methods = make_methods(scene)
        self.initial = self.probe = None
        if methods.with_initial_stage and options.init_epochs:
            self.initial = InitialStage(
                methods.with_initial_stage,
                scene.teacher.network,
                scene.student,
                settings=initial_settings(options),
            )
        if statistics := make_statistics(scene):
            steps = len(scene.splits.train)
            self.probe = TeacherProbe(steps, **statistics._asdict(), amp=options.amp)
        optimizer = make_optimizer(options, scene.student, methods.modules)
        distributed.average_gradients(optimizer, methods.modules.parameters())
        stages = {"initial": self.initial, "probe": self.probe}
        self.state = TrainingState(
            model=scene.student,
            optimizer=optimizer,
            generators={name: scene.generators[name] for name in ("data", "views", "methods")},
            description=describe(options.model_s, scene.spec),
            extra={"distiller": methods.modules} | {k: v for k, v in stages.items() if v},
            head=methods.head,
            with_head=methods.deployed(scene.student),
        )

    @staticmethod
    def product(options: Options) -> None:
        return None

    def plan(self) -> list[str]:
        return plan_teacher(self.scene, self.state.deployed, self.methods)

    def prepare(self) -> list[str]:
        """Builds the step."""
        scene, methods, options = self.scene, self.methods, self.scene.options
        preacts = methods.teacher_preacts
        prepared = speed.prepare(
            scene.teacher.network, scene.student, scene.wanted(preacts=preacts)
        )
        scene.teacher = scene.teacher._replace(network=prepared.teacher)  # frees the first's memory
        self.step = DistillStep(
            make_views(
                options,
                scene.spec,
                teacher=scene.teacher.network,
                student=self.state.deployed,
                generator=scene.generators["views"],
                preacts=preacts,
            ),
            student_passes(
                distributed.parallel(scene.student, uses_all=methods.head is None),
                methods.preacts,
                amp=options.amp,
                statistics_of=options.bn_views,
                both_views=prepared.both_views,
            ),
            methods.logit,
            methods.in_main_stage,
            methods.weights,
            teacher_target=options.t_output_as_target_for_input_mix,
            feature_views=options.feature_views == "both",
        )
        return prepared.lines

    def go(self, run: RunFolder) -> None:
        scene, state, options = self.scene, self.state, self.scene.options
        scheme = plan.scheme_name(options)
        run.record("job", teacher=scene.teacher.name, scheme=scheme, epochs=options.epochs)
        pictures = ViewPictures(run, scene.spec, options.save_img_interval)
        self.step.observers = [pictures]
        if self.probe is not None:
            self.probe.run = run
            self.step.observers = [pictures, self.probe]
        if self.initial is not None:
            self.initial.run(state, scene.splits.train, run)
        # Now that the initial stage is over, state.step counts steps of the distillation.
        self.step.steps = state.epoch * len(scene.splits.train) + state.step
        fit(state, self.step, **scene.splits._asdict(), settings=self.settings, run=run)
