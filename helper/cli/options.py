"""From the command line to a checked options object: defaults that depend on others, rules between
flags.

`options.facts` holds what follows from the options, worked out once. Nothing else is hung on the
options.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment import (
    MixSettings,
    build,
    mix_modes,
    parse,
    pick_criteria,
    picks,
    spell_chain,
    with_flags,
)
from dataset import DataRequest, DatasetSpec, datasets
from helper.cli import from_log
from helper.cli.flags import student_parser, teacher_parser
from helper.cli.methods import check_methods
from helper.cli.plugins import Plugin, files_after_flag, load_plugins
from helper.cli.schedule import EpochSchedule
from helper.cli.parser import OptionParser, Options
from helper.errors import UserError


@dataclass(frozen=True)
class Facts:
    """Facts that follow from the options of a command."""

    lam_ceiling: Callable[[int], float]
    lam_floor: Callable[[int], float]
    """Epoch, counted from 1 -> bound of cutmix's lam."""
    weight_decay: Callable[[int], float]
    """Epoch -> weight decay."""
    has_view: bool = False
    """Whether there is a second view: --lw_mix is given."""
    picks: bool = False
    """Whether the second view is picked from a pool."""
    checks: frozenset[str] = frozenset()
    """Which statistics of the teacher are asked for: "v1" (T. stddev), "v2", "v3"."""
    needs_student: bool = True
    """False for a T. stddev pass that runs no student."""
    student_weights: tuple[str, str] | None = None
    """(flag, path) of the weights that the student starts from."""

    @property
    def measures_rows(self) -> bool:
        """Whether T. stddev alone is asked for, of views that are not picked: sums over rows."""
        return self.checks == {"v1"} and not self.picks


def data_request(options: Options) -> DataRequest:
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


def finish_common(options: Options, model_name: str) -> DatasetSpec:
    """Fill in what depends on other options. Returns the facts of the data set."""
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
    if options.no_DA and options.use_DA not in (None, "00"):
        raise UserError(f"--no_DA and --use_DA {options.use_DA} contradict each other: give one")
    options.use_DA = "00" if options.no_DA else options.use_DA or spec.default_da
    if options.epoch_factor:
        options.epochs = int(options.epochs * options.epoch_factor)
        options.lr_decay_epochs = [
            int(epoch * options.epoch_factor) for epoch in options.lr_decay_epochs
        ]
        if options.epochs < 1:
            raise UserError(f"--epoch_factor {options.epoch_factor:g} leaves no epoch")
    if options.warmup_epochs and options.warmup_epochs >= options.epochs:
        raise UserError(
            f"--warmup_epochs {options.warmup_epochs} leaves none of {options.epochs} epochs"
        )
    if options.nesterov and not options.momentum:
        raise UserError("--nesterov needs a --momentum above 0")
    options.seed_is_drawn = options.seed is None
    if options.seed_is_drawn:
        options.seed = secrets.randbelow(2**31)
    return spec


def check_data_options(options: Options, spec: DatasetSpec) -> None:
    """UserError for an option of some data sets with another one; fills in the defaults of
    --num_classes and --img_size."""
    is_folder, is_synthetic = (options.dataset == name for name in ("folder", "synthetic"))
    if options.num_classes not in (None, spec.num_classes):
        raise UserError(
            f"--num_classes {options.num_classes}: {spec.name} has {spec.num_classes} classes "
            "(only synthetic has as many as are wanted)"
        )
    if options.img_size not in (None, spec.img_size):
        raise UserError(
            f"--img_size {options.img_size}: the images of {spec.name} have"
            f" {spec.img_size}x{spec.img_size} pixels (only those of folder and synthetic have"
            " another size if it is wanted)"
        )
    for name in ("mean", "std"):
        if getattr(options, name) and not is_folder:
            raise UserError(f"--{name} is for --dataset folder: {spec.name} has its own")
    if options.std and min(options.std) == 0:
        raise UserError("--std must be above 0")
    if options.images != "auto" and not is_folder:
        raise UserError(f"--images {options.images} is for --dataset folder alone")
    # What others recorded before these depended on the data set: an old run can still be resumed.
    options.num_classes = options.num_classes or 20
    options.img_size = spec.img_size if is_folder or is_synthetic else options.img_size or 32


def note_plugins(options: Options, plugins: Sequence[Plugin], argv: Sequence[str]) -> None:
    """The options hold the plugins' paths and checksums, which a resumed run compares.

    UserError for a shortened --plugin, which nothing has read ahead of the other options.
    """
    if len(options.plugin) != len(files_after_flag(argv)):
        raise UserError("--plugin cannot be shortened: it is read before all other options")
    options.plugin = [plugin.path for plugin in plugins]
    options.plugin_sha256 = [plugin.sha256 for plugin in plugins]


def parse_with(parser: OptionParser, argv: Sequence[str]) -> Options:
    """The options of a command, --from_log and --plugin carried out, as they were written.

    Raises UserError, or exits with status 2, on bad input.
    """
    expanded = from_log.expand(argv, parser.prog, parser)
    plugins = load_plugins(expanded.argv)
    options = parser.parse(expanded.argv)
    options.expanded = expanded
    note_plugins(options, plugins, expanded.argv)
    return options


def parse_teacher(argv: Sequence[str]) -> Options:
    """Options of train_teacher.py. Raises UserError, or exits with status 2, on bad input."""
    options = parse_with(teacher_parser(), argv)
    spec = finish_common(options, options.model)
    if options.resume and options.resume_ExpID:
        raise UserError("--resume and --resume_ExpID both name a run to resume: give one")
    settle_mix_mode(options, spec)
    options.project_name = options.project_name or f"teacher__{options.model}__{options.dataset}"
    options.facts = Facts(**schedules(options))
    return options


def parse_student(argv: Sequence[str]) -> Options:
    """Options of train_student.py. Raises UserError, or exits with status 2, on bad input."""
    options = parse_with(student_parser(), argv)
    spec = finish_common(options, options.model_s)
    options.path_t = options.model_t_pretrained or options.path_t
    settle_mix_mode(options, spec)
    if not options.project_name:
        scheme = options.mix_mode if options.lw_mix else "nomix"
        name = f"{options.distill}__{options.model_s}__{options.dataset}__{scheme}"
        options.project_name = name[:200]  # a chain may be longer than a folder's name can be
    options.facts = student_facts(options)
    check_student(options)
    return options


def settle_mix_mode(options: Options, spec: DatasetSpec) -> None:
    """Let --mix_mode and the older flags say the same thing.

    UserError where they contradict each other.

    A lone name, such as cutmix_pick, keeps its flags beside it; else they become keys of the
    stages.
    """
    if options.mix_mode:
        stages = parse(options.mix_mode)
        full = with_flags(stages, vars(options))
        options.mix_mode = spell_chain(stages)
        if options.mix_mode not in mix_modes:
            options.mix_mode = spell_chain(full)
        try:
            build(full, spec, MixSettings())
        except UserError as error:
            raise UserError(f"--mix_mode {error}") from None
        for stage in full:
            for name, value in stage.values.items():
                if flag := stage.kind.keys()[name].flag:
                    setattr(options, flag, value)
    options.bbox = options.bbox or "rand_bbox"
    if hasattr(options, "n_pick"):  # train_teacher.py has no pick
        options.mix_n_run = options.mix_n_run or (2 if picks(options.mix_mode) else 1)
        options.n_pick = options.n_pick or options.batch_size
        options.cutmix_pick_criterion = options.cutmix_pick_criterion or "kld"


def check_student(options: Options) -> None:
    """The rules between flags."""
    facts = options.facts
    check_methods(options)
    if options.lw_mix and not options.mix_mode:
        raise UserError(
            f"--lw_mix is given but --mix_mode is missing. Choices: {', '.join(mix_modes)}"
        )
    if options.fix_student and not facts.checks:
        raise UserError(
            "--fix_student trains nothing; it goes with --utils.check_ce_var (or _v2, _v3)"
        )
    if "v3" in facts.checks and not options.fix_student:
        raise UserError(
            "--utils.check_ce_var_v3 compares with a finished student: "
            "give --fix_student and --finetune_student FILE"
        )
    if options.fix_student and facts.needs_student and not facts.student_weights:
        criterion = f"--cutmix_pick_criterion {options.cutmix_pick_criterion}"
        why = "--utils.check_ce_var_v3" if "v3" in facts.checks else criterion
        raise UserError(f"{why} needs a trained student: give --finetune_student FILE")
    if options.feature_views == "both" and not options.lw_mix:
        raise UserError("--feature_views both needs a second view: give --lw_mix and --mix_mode")
    if options.resume_student and options.resume_ExpID:
        raise UserError("--resume_student and --resume_ExpID both name a run to resume: give one")


def student_facts(options: Options) -> Facts:
    """UserError where a schedule is none."""
    names = {
        "v1": "utils.check_ce_var",
        "v2": "utils.check_ce_var_v2",
        "v3": "utils.check_ce_var_v3",
    }
    checks = frozenset(version for version, name in names.items() if getattr(options, name))
    has_pick = options.lw_mix is not None and picks(options.mix_mode)
    picks_by_student = has_pick and pick_criteria[options.cutmix_pick_criterion].needs_student
    files = [
        (f"--{flag}", getattr(options, flag)) for flag in ("finetune_student", "model_s_pretrained")
    ]
    return Facts(
        **schedules(options),
        has_view=options.lw_mix is not None,
        picks=has_pick,
        checks=checks,
        needs_student=not options.fix_student or "v3" in checks or picks_by_student,
        student_weights=next((given for given in files if given[1]), None),
    )


def schedules(options: Options) -> dict[str, Any]:
    """Ceiling and floor of lam, and the weight decay, by epoch.

    UserError where a bound is no share.
    """
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
    decay = options.weight_decay_schedule or ""
    weight_decay = EpochSchedule.parse("--weight_decay_schedule", decay, options.weight_decay)
    return {
        "lam_ceiling": ceiling.at,
        "lam_floor": floor.at,
        "weight_decay": weight_decay.at,
    }
