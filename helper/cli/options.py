"""From the command line to a checked options object: defaults that depend on others, rules between flags.

The options object stops at the entry scripts and builders: nothing hangs state on it.
"""

import argparse
import secrets
from collections.abc import Sequence
from pathlib import Path

from augment import mix_modes, parse, pick_criteria, picks, spell_chain, with_flags
from dataset import DataRequest, DatasetSpec, datasets
from helper.cli.flags import student_parser, teacher_parser
from helper.cli.plugins import Plugin, load_plugins
from helper.cli.schedule import EpochSchedule
from helper.errors import UserError
from helper.setup.methods import check_methods


def data_request(options: argparse.Namespace) -> DataRequest:
    return DataRequest(
        root=Path(options.data_root),
        limit_train=options.limit_train,
        limit_test=options.limit_test,
        num_classes=options.num_classes or DataRequest.num_classes,
        img_size=options.img_size,
        mean=options.mean,
        std=options.std,
        images=options.images,
        cache_dir=Path(options.cache_dir) if options.cache_dir else None,
        num_workers=options.num_workers,
        may_write=not options.dry_run,
    )


def finish_common(options: argparse.Namespace, model_name: str) -> None:
    """Fill in what depends on other options."""
    if Path(options.project_name).name != options.project_name:
        raise UserError(
            f"--project_name {options.project_name!r} cannot be a folder's name: it holds a path"
        )
    if len(options.project_name.encode()) > 200:
        raise UserError(
            f"--project_name {options.project_name[:20]}...: a folder's name has no room for it"
        )
    spec = datasets[options.dataset].spec(data_request(options))
    check_data_options(options, spec)
    if options.learning_rate is None:
        options.learning_rate = spec.learning_rate(model_name)
    options.use_DA = "00" if options.no_DA else options.use_DA or spec.default_da
    if options.epoch_factor:
        options.epochs = int(options.epochs * options.epoch_factor)
        options.lr_decay_epochs = [
            int(epoch * options.epoch_factor) for epoch in options.lr_decay_epochs
        ]
        if options.epochs < 1:
            raise UserError(f"--epoch_factor {options.epoch_factor:g} leaves no epoch")
    options.seed_is_drawn = options.seed is None
    if options.seed_is_drawn:
        options.seed = secrets.randbelow(2**31)
    schedule_bounds(options)
    weight_decay_schedule(options)


def check_data_options(options: argparse.Namespace, spec: DatasetSpec) -> None:
    """UserError for an option of some data sets with another one; fills in the defaults of --num_classes and --img_size."""
    is_folder, is_synthetic = (options.dataset == name for name in ("folder", "synthetic"))
    if options.num_classes not in (None, spec.num_classes):
        raise UserError(
            f"--num_classes {options.num_classes}: {spec.name} has {spec.num_classes} classes "
            "(only synthetic has as many as are wanted)"
        )
    if options.img_size not in (None, spec.img_size):
        raise UserError(
            f"--img_size {options.img_size}: the images of {spec.name} have {spec.img_size}x{spec.img_size} pixels "
            "(only those of folder and synthetic have another size if it is wanted)"
        )
    for name in ("mean", "std"):
        if getattr(options, name) and not is_folder:
            raise UserError(f"--{name} is for --dataset folder: {spec.name} has its own")
    if options.std and min(options.std) == 0:
        raise UserError("--std must be above 0")
    if options.images != "auto" and not is_folder:
        raise UserError(f"--images {options.images} is for --dataset folder alone")
    # What others recorded before these depended on the data set: an old run can still be resumed.
    options.num_classes = options.num_classes or (spec.num_classes if is_folder else 20)
    options.img_size = spec.img_size if is_folder or is_synthetic else options.img_size or 32


def note_plugins(options: argparse.Namespace, plugins: Sequence[Plugin]) -> None:
    """The options hold the plugins' paths and checksums, which a resumed run compares."""
    options.plugin = [plugin.path for plugin in plugins]
    options.plugin_sha256 = [plugin.sha256 for plugin in plugins]


def parse_teacher(argv: Sequence[str]) -> argparse.Namespace:
    """Options of train_teacher.py. Raises UserError, or exits with status 2, on bad input."""
    plugins = load_plugins(argv)
    options = teacher_parser().parse(argv)
    note_plugins(options, plugins)
    finish_common(options, options.model)
    if options.resume and options.resume_ExpID:
        raise UserError("--resume and --resume_ExpID both name a run to resume: give one")
    settle_mix_mode(options)
    options.project_name = options.project_name or f"teacher__{options.model}__{options.dataset}"
    return options


def parse_student(argv: Sequence[str]) -> argparse.Namespace:
    """Options of train_student.py. Raises UserError, or exits with status 2, on bad input."""
    plugins = load_plugins(argv)
    options = student_parser().parse(argv)
    note_plugins(options, plugins)
    finish_common(options, options.model_s)
    options.path_t = options.model_t_pretrained or options.path_t
    settle_mix_mode(options)
    if not options.project_name:
        scheme = options.mix_mode if options.lw_mix else "nomix"
        options.project_name = f"{options.distill}__{options.model_s}__{options.dataset}__{scheme}"
    check_student(options)
    return options


def settle_mix_mode(options: argparse.Namespace) -> None:
    """Let --mix_mode and the older flags say the same thing. UserError where they contradict each other.

    A lone name, such as cutmix_pick, keeps its flags beside it; else they become keys of the stages.
    """
    if options.mix_mode:
        stages = parse(options.mix_mode)
        full = with_flags(stages, vars(options))
        options.mix_mode = spell_chain(stages)
        if options.mix_mode not in mix_modes:
            options.mix_mode = spell_chain(full)
        for stage in full:
            for name, value in stage.values.items():
                if flag := stage.kind.keys()[name].flag:
                    setattr(options, flag, value)
    options.bbox = options.bbox or "rand_bbox"
    if hasattr(options, "n_pick"):  # train_teacher.py has no pick
        options.mix_n_run = options.mix_n_run or (2 if picks(options.mix_mode) else 1)
        options.n_pick = options.n_pick or options.batch_size
        options.cutmix_pick_criterion = options.cutmix_pick_criterion or "kld"


def check_student(options: argparse.Namespace) -> None:
    """The rules between flags."""
    checks = checks_of(options)
    check_methods(options)
    if options.lw_mix and not options.mix_mode:
        raise UserError(
            f"--lw_mix is given but --mix_mode is missing. Choices: {', '.join(mix_modes)}"
        )
    if options.fix_student and not checks:
        raise UserError(
            "--fix_student trains nothing; it goes with --utils.check_ce_var (or _v2, _v3)"
        )
    if "v3" in checks and not options.fix_student:
        raise UserError(
            "--utils.check_ce_var_v3 compares with a finished student: "
            "give --fix_student and --finetune_student FILE"
        )
    if options.fix_student and needs_student(options) and not student_weights(options):
        criterion = f"--cutmix_pick_criterion {options.cutmix_pick_criterion}"
        why = "--utils.check_ce_var_v3" if "v3" in checks else criterion
        raise UserError(f"{why} needs a trained student: give --finetune_student FILE")
    if options.feature_views == "both" and not options.lw_mix:
        raise UserError("--feature_views both needs a second view: give --lw_mix and --mix_mode")
    if options.resume_student and options.resume_ExpID:
        raise UserError("--resume_student and --resume_ExpID both name a run to resume: give one")


def schedule_bounds(options: argparse.Namespace) -> tuple[EpochSchedule, EpochSchedule]:
    """(ceiling, floor) of lam. UserError where a value is no share."""
    ceiling = EpochSchedule.parse("--ceiling_ratio_schedule", options.ceiling_ratio_schedule, 1.0)
    floor = EpochSchedule.parse("--floor_ratio_schedule", options.floor_ratio_schedule, 0.0)
    for flag, schedule in (
        ("--ceiling_ratio_schedule", ceiling),
        ("--floor_ratio_schedule", floor),
    ):
        for _, value in schedule.steps:
            if not 0 <= value <= 1:
                raise UserError(f"{flag}: {value:g} is not between 0 and 1")
    for epoch, _ in (*ceiling.steps, *floor.steps):
        if floor.at(epoch) > ceiling.at(epoch):
            raise UserError(
                f"--floor_ratio_schedule lies above --ceiling_ratio_schedule from epoch {epoch}"
            )
    return ceiling, floor


def weight_decay_schedule(options: argparse.Namespace) -> EpochSchedule:
    """Weight decay by epoch; --weight_decay where the schedule says nothing."""
    text = options.weight_decay_schedule or ""
    return EpochSchedule.parse("--weight_decay_schedule", text, options.weight_decay)


def checks_of(options: argparse.Namespace) -> set[str]:
    """Which statistics of the teacher are asked for: "v1" (T. stddev), "v2", "v3"."""
    names = {
        "v1": "utils.check_ce_var",
        "v2": "utils.check_ce_var_v2",
        "v3": "utils.check_ce_var_v3",
    }
    return {version for version, name in names.items() if getattr(options, name)}


def needs_student(options: argparse.Namespace) -> bool:
    """Whether a T. stddev pass has to run a student."""
    needs_scores = bool(options.lw_mix) and picks(options.mix_mode)
    return "v3" in checks_of(options) or (
        needs_scores and pick_criteria[options.cutmix_pick_criterion].needs_student
    )


def student_weights(options: argparse.Namespace) -> tuple[str, str] | None:
    """(flag, path) of the weights that the student starts from."""
    for flag in ("finetune_student", "model_s_pretrained"):
        if getattr(options, flag):
            return f"--{flag}", getattr(options, flag)
    return None
