"""Train a network on labels, for use as a teacher.

    python train_teacher.py --model vgg13

writes save/models/vgg13_vanilla/ckpt_epoch_240.pth, which train_student.py takes as --path_t. With
`--mix_mode autoaugment`, `mixup` or `cutmix` it trains on that view of each batch.
"""

import sys
from collections.abc import Sequence

from dataset import datasets
from helper import build, plan
from helper.checkpoint import describe_model, save_keeping_old
from helper.engine import LabelStep
from helper.errors import one_line_errors
from helper.options import data_request, parse_teacher
from helper.resume import open_run, resume, teacher_path
from helper.training import TrainingState, fit

PROGRAM = "train_teacher.py"


def main(argv: Sequence[str]) -> None:
    # Build and check everything before anything is written; the network before the data: a download is not cheap.
    options = parse_teacher(argv)
    device = build.select_device(options.device)
    generators = build.make_generators(options.seed)
    source, request = datasets[options.dataset], data_request(options)
    spec = source.spec(request)
    model = build.new_model(options.model, spec, device, generators["weights"])
    augment = build.make_augmentation(options, spec)
    target = teacher_path(options)
    data = source.load(request)
    splits = build.make_batches(data, options, device, generators["data"])
    settings = build.loop_settings(options)
    state = TrainingState(
        model,
        build.make_optimizer(options, model),
        {name: generators[name] for name in ("data", "views")},
        describe_model(options.model, spec.num_classes, spec.img_size, spec.name),
    )
    resumed = resume(options, state, PROGRAM, "--resume", options.resume)
    # A run may have been killed between its last epoch and the writing of the teacher.
    has_work = state.epoch < options.epochs or not target.exists()

    lines = [
        plan.describe_machine(device, options, resumed),
        plan.describe_data(data.spec, splits),
        plan.describe_network("network", options.model, model, spec.img_size),
        f"{options.epochs} epochs at learning rate {options.learning_rate:g}, "
        f"trained on {options.mix_mode or 'plain'} batches; weights go to {target}",
    ]
    if options.dry_run:
        print("\n".join(["dry run: everything checks out, nothing is written", *lines]))
        return

    run = open_run(options, resumed, PROGRAM)
    for line in lines:
        run.log(line)
    step = LabelStep(model, augment, generators["views"], amp=options.amp)
    fit(state, step, **splits._asdict(), settings=settings, run=run)
    if has_work:
        kept = save_keeping_old(target, state.weights())
        run.log(f"teacher written: {target}" + (f" (what was there is now {kept.name})" if kept else ""))
    run.log(f"done, see {run.path}")
    run.close()


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        main(sys.argv[1:])
