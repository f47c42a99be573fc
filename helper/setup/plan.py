"""The plan of a run, in words: the first lines of log.txt, and the output of --dry_run."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from augment import parse, picks
from dataset import Dataset, DatasetSpec
from helper.cli.methods import as_list
from helper.cli.parser import Options
from helper.processes import distributed
from helper.setup.batches import Splits
from helper.setup.methods import Methods
from helper.step.teacher_stats import GROUP_STEPS
from models.model_info import count_flops, count_parameters


def scheme_name(options: Options) -> str:
    """The second view in a few words."""
    if options.lw_mix is None:
        return "none"
    unsaid = picks(options.mix_mode) and "criterion=" not in options.mix_mode
    return options.mix_mode + (f" by {options.cutmix_pick_criterion}" if unsaid else "")


def describe_machine(device: torch.device, options: Options, *, is_resumed: bool) -> str:
    """Device, versions, precision, and where the random draws come from."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} threads"
    precision = (
        "float32 with TF32 convolutions"
        if on_gpu and torch.backends.cudnn.allow_tf32
        else "float32"
    )
    if on_gpu and options.precision != "default":
        precision = f"float32 at {options.precision} precision"
    random = "random state of the checkpoint" if is_resumed else f"seed {options.seed}"
    processes = f"{distributed.size()} processes, " if distributed.size() > 1 else ""
    return (
        f"{processes}device {device} ({name}), torch {torch.__version__}, {random}, "
        f"{'bfloat16 autocast' if options.amp else precision}"
    )


def describe_data(data: Dataset, splits: Splits) -> list[str]:
    """How many images of how many classes, and what else there is to tell of them."""
    spec, test = data.spec, "test" if data.test is not None else "held-out (there is no test set)"
    held_out = "" if splits.dev is None else f", {splits.dev.count} held-out"
    counts = (
        f"data {spec.name}: {splits.train.count} training{held_out} and {splits.test.count} {test}"
        f" images, {spec.num_classes} classes, {spec.img_size}x{spec.img_size} pixels,"
        f" {len(splits.train)} steps an epoch"
    )
    return [counts, *data.notes]


def describe_network(role: str, name: str, model: nn.Module, img_size: int, path: str = "") -> str:
    """Role, name, parameters, FLOPs of one image, and where the weights are from."""
    parameters, flops = count_parameters(model), count_flops(model, img_size)
    source = f", from {path}" if path else ""
    return (
        f"{role} {name}: {parameters / 1e6:.2f} M parameters, {flops / 1e6:.1f} MFLOPs an"
        f" image{source}"
    )


def warn_of_other_data(checkpoint_says: dict[str, Any], spec: DatasetSpec) -> list[str]:
    """A warning if the teacher's checkpoint says that it was trained on other data."""
    pairs = (("dataset", spec.name), ("img_size", spec.img_size))
    return [
        f"warning: the teacher was trained with {name} {checkpoint_says[name]}, this run has {here}"
        for name, here in pairs
        if checkpoint_says.get(name, here) != here
    ]


def describe_rate(options: Options) -> str:
    """The learning rate, and what is not usual of its course and of the optimizer."""
    ends = options.lr_decay_epochs
    is_constant = options.lr_schedule == "step" and ends and min(ends) >= options.epochs
    steps = ",".join(map(str, ends))
    parts = [
        f"learning rate {options.learning_rate:g}",
        "down a cosine" if options.lr_schedule == "cosine" else "",
        f"after {options.warmup_epochs} epochs of warm-up" if options.warmup_epochs else "",
        "with Nesterov's momentum" if options.nesterov else "",
        f"that never falls (--lr_decay_epochs {steps})" if is_constant else "",
    ]
    return " ".join(filter(None, parts))


def describe_teacher_job(options: Options, target: Path) -> str:
    return (
        f"{options.epochs} epochs at {describe_rate(options)}, "
        f"trained on {options.mix_mode or 'plain'} batches; weights go to {target}"
    )


def describe_draw(options: Options) -> str:
    """How often the stages draw that have no draw= of their own; empty if all have one."""
    have_own = ["draw" in stage.values for stage in parse(options.mix_mode or "identity")]
    if all(have_own):
        return ""
    return f", one draw per {options.mix_draw}{' elsewhere' if any(have_own) else ''}"


def describe_student_job(options: Options, scheme: str, methods: Methods | None) -> list[str]:
    """The plan in words. `methods` None: a T. stddev pass."""
    draw = describe_draw(options) if options.lw_mix else ""
    if methods is None:
        return [f"measuring the teacher: {options.epochs} epochs, second view: {scheme}{draw}"]
    measured = (
        ["the teacher's statistics are logged while the student trains"]
        if options.facts.checks
        else []
    )
    initial = methods.with_initial_stage
    before = []
    if initial and options.init_epochs:
        before = [f"initial stage: {options.init_epochs} epochs of {', '.join(initial)}"]
    return [
        *before,
        (
            f"distilling: {options.epochs} epochs at {describe_rate(options)}, "
            f"batch {options.batch_size}, second view: {scheme}{draw}"
        ),
        f"loss: {describe_loss(options, methods)}",
        *methods.describe(),
        *measured,
    ]


def describe_loss(options: Options, methods: Methods) -> str:
    """The loss as a formula, such as "0.1 CE(x) + 0.9 (1 kd(x) + 0 CE(x') + 1 kd(x', teacher(x')))
    + 0.8 crd(x)"."""
    terms = [f"{methods.gamma:g} CE(x)"]
    for number, (name, alpha) in enumerate(methods.alpha.items()):
        if not options.lw_mix:
            terms.append(f"{alpha:g} {name}(x)")
            continue
        clean, labels, view = options.lw_mix
        target = "teacher(x')" if options.t_output_as_target_for_input_mix else "teacher(x), mixed"
        mixed_labels = f"{labels:g} CE(x') + " if number == 0 else ""
        terms.append(
            f"{alpha:g} ({clean:g} {name}(x) + {mixed_labels}{view:g} {name}(x', {target}))"
        )
    if options.lw_mix and any(method.labels_of_view for method in methods.logit.values()):
        terms.append(f"{methods.gamma:g} CE(x')")
    for name in methods.in_main_stage:
        both = f"({name}(x) + {name}(x'))" if options.feature_views == "both" else f"{name}(x)"
        terms.append(f"{methods.beta[name]:g} {both}")
    return " + ".join(terms)


def describe_method_options_without_effect(options: Options, methods: Methods) -> list[str]:
    """A warning for each option of the methods that has no effect."""
    lines, main = [], methods.in_main_stage
    if any(as_list(options.beta)) and not main:
        lines.append(
            f"warning: --beta has no effect: {options.distill} has no feature loss in the main"
            " stage"
        )
    for name, beta in methods.beta.items():
        if not beta and name not in methods.with_initial_stage:
            lines.append(f"warning: --beta 0: {name} is left out")
    if methods.with_initial_stage and not options.init_epochs:
        names = ", ".join(methods.with_initial_stage)
        lines.append(f"warning: --init_epochs 0: the initial stage of {names} is left out")
    if options.lw_mix and not methods.logit and not (main and options.feature_views == "both"):
        lines.append(
            f"warning: the second view has no effect: {options.distill} compares features of the"
            " first"
        )
    if options.feature_views == "both" and not main:
        lines.append(
            f"warning: --feature_views both has no effect: {options.distill} compares no features"
        )
    picks_by_kld = picks(options.mix_mode) and options.cutmix_pick_criterion == "kld"
    if (options.kd_S, options.kd_T) != (4, 4) and not ("kd" in methods.logit or picks_by_kld):
        lines.append(
            f"warning: --kd_T and --kd_S are kd's; {options.distill} has its own temperature"
        )
    return lines


def describe_options_without_effect(
    options: Options, steps_per_epoch: int, methods: Methods | None
) -> list[str]:
    """A warning for each option of the command line that has no effect."""
    lines = []
    steps = options.epochs * steps_per_epoch
    if "v1" in options.facts.checks and steps < 2 * GROUP_STEPS:
        lines.append(
            f"warning: {steps} steps are too few for T. stddev, which needs {2 * GROUP_STEPS}: it"
            " will be nan"
        )
    if options.mix_mode and options.lw_mix is None:
        lines.append(
            f"warning: --mix_mode {options.mix_mode} has no effect without --lw_mix, such as"
            " [1,0,1]"
        )
    if methods is not None:
        lines += describe_method_options_without_effect(options, methods)
    if options.facts.checks and not getattr(options, "utils.ON"):
        lines.append("warning: --utils.check_ce_var without --utils.ON: switched on all the same")
    if getattr(options, "utils.ON") and not options.facts.checks:
        lines.append("warning: --utils.ON alone has no effect: give --utils.check_ce_var too")
    if options.fix_student and options.facts.student_weights and not options.facts.needs_student:
        lines.append(f"{options.facts.student_weights[0]} is not read: this pass needs no student")
    if options.finetune_student and options.model_s_pretrained:
        lines.append("warning: --model_s_pretrained is not read: --finetune_student goes first")
    if options.model_path or options.tb_path:
        lines.append(
            "--model_path and --tb_path have no effect: the run folder holds weights and tb/"
        )
    return lines
