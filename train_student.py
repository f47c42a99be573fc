"""Distil a teacher into a student under a second, stronger view of each batch, or measure T. stddev.

    python train_student.py --path_t save/models/vgg13_vanilla/ckpt_epoch_240.pth --model_s vgg8 --distill kd \
        -r 0.1 -a 0.9 -b 0 --t_output_as_target_for_input_mix --lw_mix [1,0,1] --mix_mode cutmix

`--help` explains every flag, `--dry_run` checks a command without writing anything.
"""

import sys
from collections.abc import Sequence

from dataset import datasets
from distiller_zoo import distillers
from helper import build
from helper.checkpoint import describe_model
from helper.engine import DistillStep, LossWeights
from helper.errors import one_line_errors
from helper.measure import make_probe, measure_teacher
from helper.metrics import evaluate
from helper.options import checks_of, data_request, parse_student
from helper.pictures import ViewPictures
from helper.training import TrainingState, fit

PROGRAM = "train_student.py"


def main(argv: Sequence[str]) -> None:
    # Build and check everything before anything is written.
    options = parse_student(argv)
    device = build.select_device(options.device)
    generators = build.make_generators(options.seed)
    source, request = datasets[options.dataset], data_request(options)
    spec = source.spec(request)
    teacher_name, teacher = build.load_teacher(options, spec, device)
    student = build.make_student(options, spec, device, generators["weights"])
    views = build.make_views(options, spec, teacher, student, generators["views"])
    data = source.load(request)  # after the networks: a wrong teacher should not cost a download
    train, test = build.make_batches(data, options, device, generators["data"])
    probe = make_probe(checks_of(options), train, spec.num_classes, student, options.amp)
    scheme = build.scheme_name(options)
    state, resumed = None, None
    if not options.fix_student:
        state = TrainingState(
            student,
            build.make_optimizer(student, options),
            {name: generators[name] for name in ("data", "views")},
            describe_model(options.model_s, spec.num_classes, spec.img_size, spec.name),
            extra={} if probe is None else {"probe": probe},
        )
        resumed = build.resume(options, state, "--resume_student", options.resume_student)
    settings = build.loop_settings(options)
    plan = [
        build.describe_machine(device, options),
        build.describe_data(data, options.batch_size),
        build.describe_network("teacher", teacher_name, teacher, spec.img_size, options.path_t),
    ]
    if student is not None:
        plan.append(build.describe_network("student", options.model_s, student, spec.img_size))
    plan += build.describe_student_job(options, scheme)
    if options.dry_run:
        print("\n".join(["dry run: everything checks out, nothing is written", *plan]))
        return

    run = build.open_run(options, resumed, model_t=teacher_name)
    run.record("job", teacher=teacher_name, scheme=scheme, epochs=options.epochs)
    for line in plan:
        run.log(line)
    if options.test_teacher:
        result = evaluate(teacher, test, amp=options.amp)
        run.log(f"Teacher Acc1 {result.acc1:.4f} Acc5 {result.acc5:.4f} TestLoss {result.loss:.6f}")
    if probe is not None:
        probe.run = run
    pictures = ViewPictures(run, spec, options.save_img_interval)

    if options.fix_student:
        label = f"{teacher_name} on {spec.name}, {scheme}"
        measure_teacher(views, train, probe, epochs=options.epochs, label=label, observers=(pictures,))
    else:
        weights = LossWeights(options.gamma, options.alpha, options.beta, options.lw_mix)
        step = DistillStep(
            views,
            student,
            distillers[options.distill](options.kd_S, options.kd_T),
            weights,
            teacher_target=options.t_output_as_target_for_input_mix,
            amp=options.amp,
            observers=(pictures,) if probe is None else (pictures, probe),
        )
        fit(
            state,
            step,
            weights,
            train=train,
            test=test,
            settings=settings,
            run=run,
            start_epoch=views.start_epoch,
        )
    run.log(f"done, see {run.path}")
    run.close()


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        main(sys.argv[1:])
