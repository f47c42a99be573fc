"""The second view as the options ask for it."""

from collections.abc import Sequence

import torch
from torch import nn

from augment import Augmentation, MixSettings, Pick, build, parse, pick_criteria, picks, with_flags
from dataset import DatasetSpec
from helper.cli.parser import Options
from helper.processes import distributed
from helper.step.passes import ViewMaker


def make_augmentation(options: Options, spec: DatasetSpec) -> Augmentation | None:
    """The augmentation that --mix_mode names, or None where none is given."""
    if not options.mix_mode:
        return None
    settings = MixSettings(
        draw=options.mix_draw,
        ceiling=options.facts.lam_ceiling,
        floor=options.facts.lam_floor,
    )
    return build(with_flags(parse(options.mix_mode), vars(options)), spec, settings)


def make_pick(options: Options) -> Pick | None:
    if not picks(options.mix_mode):
        return None
    return Pick(pick_criteria[options.cutmix_pick_criterion], options.n_pick, options.kd_T)


def make_views(
    options: Options,
    spec: DatasetSpec,
    *,
    teacher: nn.Module,
    student: nn.Module | None,
    generator: torch.Generator,
    preacts: Sequence[bool] = (),
) -> ViewMaker:
    """The second view as --mix_mode says, where --lw_mix asks for one.

    teacher, student: the prepared networks. preacts: which features of the teacher are wanted.
    """
    facts = options.facts
    features_of_view = bool(preacts) and options.feature_views == "both"
    return ViewMaker(
        teacher,
        make_augmentation(options, spec) if facts.has_view else None,
        generator,
        pick=make_pick(options) if facts.has_view else None,
        student=student,
        teacher_sees_view=(
            options.t_output_as_target_for_input_mix or bool(facts.checks) or features_of_view
        ),
        preacts=preacts,
        features_of_view=features_of_view,
        amp=options.amp,
        own_rows_only=distributed.size() > 1 and options.fix_student and facts.measures_rows,
    )
