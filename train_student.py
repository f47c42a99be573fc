"""Distil a teacher into a student under a second, stronger view of each batch, or measure T. stddev.

    python train_student.py --path_t save/models/vgg13_vanilla/ckpt_epoch_240.pth --model_s vgg8 --distill kd \
        -r 0.1 -a 0.9 -b 0 --t_output_as_target_for_input_mix --lw_mix [1,0,1] --mix_mode cutmix

`--help` explains every flag, `--dry_run` checks a command without writing anything.
"""

import argparse
import sys
from collections.abc import Sequence

from dataset import datasets
from helper.cli.options import data_request, parse_student, student_weights
from helper.errors import memory_advice, one_line_errors
from helper.loop.measure import measure_teacher
from helper.loop.pictures import ViewPictures
from helper.loop.state import RunState
from helper.loop.training import TrainingState, fit
from helper.processes import distributed
from helper.processes.interruption import listening
from helper.run.provenance import provenance
from helper.run.resume import claim_same, open_run, resume
from helper.setup import plan
from helper.setup import scene as build
from helper.setup.methods import make_methods
from helper.speed import bfloat16
from helper.speed.compiled import compile_networks
from helper.speed.memory import keep_freed_memory
from helper.step.distill import DistillStep

PROGRAM = "train_student.py"


def main(argv: Sequence[str]) -> None:
    options = parse_student(argv)
    with memory_advice(options.batch_size):
        work(options)


def work(options: argparse.Namespace) -> None:
    # Build and check everything before anything is written; networks before data: a download is not cheap.
    device = build.select_device(options.device, options.precision)
    distributed.start(device)
    claim = claim_same(options, PROGRAM, vars(parse_student([])))
    if claim.is_done:
        return
    options.seed = distributed.agreed(options.seed)
    generators = build.make_generators(options.seed)
    source, request = datasets[options.dataset], data_request(options)
    spec = source.spec(request)
    teacher = build.load_teacher(options, spec, device)
    student = build.make_student(options, spec, device, generators["weights"])
    data = source.load(request)
    splits = build.make_batches(data, options, device, generators["data"])
    found_out = build.identify(options, teacher, data)
    settings = build.loop_settings(options)
    methods, initial, preacts = None, None, ()
    probe = build.make_probe(options, splits.train, spec, student)
    if options.fix_student:
        drawn = {name: generators[name] for name in ("data", "views")}
        state = RunState(generators=drawn, extra={"probe": probe})
    else:
        methods = make_methods(
            options,
            teacher=teacher.network,
            student=student,
            pair=f"{teacher.name}/{options.model_s}",
            spec=spec,
            train_labels=splits.train.served_labels,
            device=device,
            generator=generators["methods"],
        )
        preacts = methods.teacher_preacts
        initial = build.make_initial_stage(options, methods, teacher.network, student)
        state = TrainingState(
            model=student,
            optimizer=build.make_optimizer(options, student, methods.modules),
            generators={name: generators[name] for name in ("data", "views", "methods")},
            description=build.describe(options.model_s, spec),
            extra={"distiller": methods.modules}
            | {k: v for k, v in (("initial", initial), ("probe", probe)) if v},
            head=methods.head,
            deployed=methods.deployed(student),
        )
    steps = len(splits.train)
    resumed = resume(
        options, state, PROGRAM, "--resume_student", steps_per_epoch=steps, **found_out
    )
    scored = student if methods is None else state.deployed
    tested = build.test_teacher(options, teacher, splits.test) if options.test_teacher else None
    teacher_line = plan.describe_network(
        "teacher", teacher.name, teacher.network, spec.img_size, options.path_t
    )
    views = build.make_views(options, spec, teacher.network, scored, generators["views"], preacts)
    teacher = teacher._replace(network=views.teacher)  # the memory of the first is free again

    scheme = plan.scheme_name(options)
    lines = [
        *(resumed.warnings if resumed else ()),
        plan.describe_machine(device, options, is_resumed=resumed is not None),
        *bfloat16.warn_if_slow(device, amp=options.amp),
        *plan.describe_data(data, splits),
        teacher_line,
        *plan.warn_of_other_data(teacher.trained_on, spec),
    ]
    if student is not None:
        _, path = student_weights(options) or ("", "")
        lines.append(plan.describe_network("student", options.model_s, scored, spec.img_size, path))
    lines += plan.describe_student_job(options, scheme, methods)
    lines += plan.describe_vain_options(options, steps, methods)
    if tested is not None:
        lines.append(
            f"Teacher Acc1 {tested.acc1:.4f} Acc5 {tested.acc5:.4f} TestLoss {tested.loss:.6f}"
        )
    if options.dry_run:
        print("\n".join(["dry run: everything checks out, nothing is written", *lines]))
        return

    if options.compile:
        lines += compile_networks(
            [views.teacher, views.student if options.fix_student else student], device
        )
    run = open_run(options, resumed, PROGRAM, **found_out)
    lines.append(
        run.note_start(provenance(device) | found_out | {"teacher_accuracy": teacher.accuracy})
    )
    run.record("job", teacher=teacher.name, scheme=scheme, epochs=options.epochs)
    for line in lines:
        run.log(line)
    if resumed is None:
        run.save(state.state_dict())  # from here on it can be resumed
    observers = [
        ViewPictures(run, spec, options.save_img_interval, step=state.epoch * steps + state.step)
    ]
    if probe is not None:
        probe.run = run
        observers.append(probe)

    if options.fix_student:
        label = f"{teacher.name} on {spec.name}, {scheme}"
        measure_teacher(
            state, views, splits.train, probe, observers, epochs=options.epochs, label=label
        )
    else:
        if initial is not None:
            initial.run(state, splits.train, run)
        step = DistillStep(
            views,
            distributed.parallel(student, uses_all=methods.head is None),
            methods.logit,
            methods.in_main_stage,
            methods.weights,
            teacher_target=options.t_output_as_target_for_input_mix,
            feature_views=options.feature_views == "both",
            amp=options.amp,
            observers=observers,
            **build.student_passes(options, student, methods, spec, device)._asdict(),
        )
        fit(state, step, **splits._asdict(), settings=settings, run=run)
    run.log(f"done, see {run.path}")
    run.close()


if __name__ == "__main__":
    with one_line_errors(PROGRAM), listening(), distributed.session():
        keep_freed_memory()
        main(sys.argv[1:])
