"""The lines about teacher, student and job that distilling and measuring have in common."""

from torch import nn

from helper.loop.teacher_check import check_accuracy
from helper.setup import plan
from helper.setup.methods import Methods
from helper.setup.scene import Scene


def plan_teacher(scene: Scene, student: nn.Module | None, methods: Methods | None) -> list[str]:
    """With --test_teacher the teacher is evaluated.

    UserError if it is far worse than its checkpoint records.

    student: the network whose logits are evaluated. methods: None in a T. stddev pass.
    """
    options, teacher, img_size = scene.options, scene.teacher, scene.spec.img_size
    lines = [
        plan.describe_network("teacher", teacher.name, teacher.network, img_size, options.path_t),
        *teacher.notes,
        *plan.warn_of_other_data(teacher.trained_on, scene.spec),
    ]
    if student is not None:
        _, path = options.facts.student_weights or ("", "")
        lines.append(plan.describe_network("student", options.model_s, student, img_size, path))
    lines += plan.describe_student_job(options, plan.scheme_name(options), methods)
    lines += plan.describe_options_without_effect(options, len(scene.splits.train), methods)
    if options.test_teacher:
        flag = f"--test_teacher {options.path_t}"
        tested = check_accuracy(
            teacher.network, teacher.accuracy, scene.splits.test, amp=options.amp, flag=flag
        )
        if teacher.accuracy is None:
            lines.append(f"{options.path_t} records no accuracy: there is nothing to compare with")
        lines.append(
            f"Teacher Acc1 {tested.acc1:.4f} Acc5 {tested.acc5:.4f} TestLoss {tested.loss:.6f}"
        )
    return lines
