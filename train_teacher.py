"""Train a network on labels, for use as a teacher.

    python train_teacher.py --model vgg13

writes save/models/vgg13_vanilla/ckpt_epoch_240.pth, which train_student.py takes as --path_t. With
`--mix_mode autoaugment`, `mixup` or `cutmix` it trains on that view of each batch.
"""

import argparse
import sys
from collections.abc import Sequence

from dataset import datasets
from helper.cli.options import data_request, parse_teacher
from helper.errors import memory_advice, one_line_errors
from helper.loop.training import TrainingState, fit
from helper.processes import distributed
from helper.processes.interruption import listening
from helper.processes.sync_batchnorm import share_batchnorm
from helper.run.checkpoint import save_keeping_old
from helper.run.provenance import provenance
from helper.run.resume import claim_same, open_run, resume, teacher_path
from helper.setup import plan
from helper.setup import scene as build
from helper.speed import bfloat16
from helper.speed.compiled import compile_networks
from helper.speed.memory import keep_freed_memory
from helper.step.distill import LabelStep

PROGRAM = "train_teacher.py"


def main(argv: Sequence[str]) -> None:
    options = parse_teacher(argv)
    with memory_advice(options.batch_size):
        work(options)


def work(options: argparse.Namespace) -> None:
    # Build and check everything before anything is written; the network before the data: a download is not cheap.
    device = build.select_device(options.device, options.precision)
    distributed.start(device)
    target = teacher_path(options)
    claim = claim_same(options, PROGRAM, vars(parse_teacher([])), product=target)
    if claim.is_done:
        return
    options.seed = distributed.agreed(options.seed)
    generators = build.make_generators(options.seed)
    source, request = datasets[options.dataset], data_request(options)
    spec = source.spec(request)
    model = build.new_model(options.model, spec, device, generators["weights"])
    if options.sync_bn:
        share_batchnorm(model)
    augment = build.make_augmentation(options, spec)
    data = source.load(request)
    splits = build.make_batches(data, options, device, generators["data"])
    settings = build.loop_settings(options)
    found_out = build.identify_data(options, data)
    state = TrainingState(
        model=model,
        optimizer=build.make_optimizer(options, model),
        generators={name: generators[name] for name in ("data", "views")},
        description=build.describe(options.model, spec),
    )
    resumed = resume(
        options, state, PROGRAM, "--resume", steps_per_epoch=len(splits.train), **found_out
    )

    lines = [
        *(resumed.warnings if resumed else ()),
        plan.describe_machine(device, options, is_resumed=resumed is not None),
        *bfloat16.warn_if_slow(device, amp=options.amp),
        *plan.describe_data(data, splits),
        plan.describe_network("network", options.model, model, spec.img_size),
        f"{options.epochs} epochs at learning rate {options.learning_rate:g}, "
        f"trained on {options.mix_mode or 'plain'} batches; weights go to {target}",
    ]
    if options.dry_run:
        print("\n".join(["dry run: everything checks out, nothing is written", *lines]))
        return

    if options.compile:
        lines += compile_networks([model], device)
    run = open_run(options, resumed, PROGRAM, **found_out)
    for line in (*lines, run.note_start(provenance(device) | found_out)):
        run.log(line)
    if resumed is None:
        run.save(state.state_dict())  # from here on it can be resumed
    step = LabelStep(distributed.parallel(model), augment, generators["views"], amp=options.amp)

    def write_teacher() -> None:
        if not distributed.is_first():
            return
        kept = save_keeping_old(target, state.weights())
        run.log(
            f"teacher written: {target}" + (f" (what was there is now {kept.name})" if kept else "")
        )

    fit(state, step, **splits._asdict(), settings=settings, run=run, at_end=write_teacher)
    if not target.exists():  # it was removed since
        write_teacher()
    run.log(f"done, see {run.path}")
    run.close()


if __name__ == "__main__":
    with one_line_errors(PROGRAM), listening(), distributed.session():
        keep_freed_memory()
        main(sys.argv[1:])
