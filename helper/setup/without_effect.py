"""Warnings for options that have no effect, for both scripts: none is ignored in silence."""

import math

import torch

from augment import parse, picks
from distiller_zoo import distillers, parse_methods
from helper.cli.parser import Options
from helper.cli.schedule import EpochSchedule
from helper.processes import distributed
from helper.run.folder import has_tensorboard

SIZED = ("synthetic", "folder")
"""Data sets whose images have the size that --img_size says."""
CACHED = ("tinyimagenet", "svhn", "folder")
DECODED = ("tinyimagenet", "imagenet", "imagenet100", "folder")

OF_TRAINING = (
    "lr_schedule lr_decay_epochs lr_decay_rate warmup_epochs momentum nesterov weight_decay"
    " weight_decay_schedule"
).split()
OF_METHODS = ("nce_k", "nce_t", "nce_m", "mode", "feat_dim", "hint_layer")
"""Flags that are keys of single methods. --kd_T and --kd_S are told of in plan.py."""

Rules = dict[str, tuple[bool, str]]
"""Flag -> (whether it has an effect here, why not)."""


def rules_of_methods(options: Options) -> Rules:
    """Flags that a chosen method reads."""
    chosen = set(parse_methods(options.distill)) if hasattr(options, "distill") else set()
    users = {
        flag: [
            name
            for name in distillers
            if any(one.flag == flag for one in distillers[name].keys().values())
        ]
        for flag in OF_METHODS
    }
    users["init_epochs"] = [
        name for name in distillers if getattr(distillers[name], "has_initial_stage", False)
    ]
    return {
        flag: (not chosen.isdisjoint(names), f"it is for {', '.join(names)}")
        for flag, names in users.items()
    }


def rules_of_training(options: Options) -> Rules:
    """Flags that say how the network is trained."""
    if getattr(options, "fix_student", False):
        return {flag: (False, "--fix_student trains nothing") for flag in OF_TRAINING}
    by_steps = options.lr_schedule == "step", f"--lr_schedule {options.lr_schedule} has no steps"
    schedule = EpochSchedule.parse("", options.weight_decay_schedule or "", math.nan)
    return {
        "lr_decay_epochs": by_steps,
        "lr_decay_rate": by_steps,
        "weight_decay": (
            math.isnan(schedule.at(1)),
            f"--weight_decay_schedule {options.weight_decay_schedule} says it from the first epoch",
        ),
    }


def rules_of_data_and_views(options: Options, device: torch.device) -> Rules:
    """Flags of the data, the device and the second view."""
    data, mode = options.dataset, options.mix_mode
    has_view = bool(getattr(options, "lw_mix", None)) if hasattr(options, "lw_mix") else bool(mode)
    measures = getattr(options, "fix_student", False)
    rules: Rules = {
        "num_classes": (data == "synthetic", f"{data} has its own classes"),
        "img_size": (data in SIZED, f"the images of {data} have their own size"),
        "mean": (data == "folder", f"{data} has its own"),
        "std": (data == "folder", f"{data} has its own"),
        "images": (data == "folder", "it is for --dataset folder"),
        "cache_dir": (data in CACHED, f"no decoded images of {data} are kept"),
        "num_workers": (data in DECODED, f"the images of {data} need no decoding"),
        "precision": (device.type == "cuda", "it is for a GPU"),
        "sync_bn": (distributed.size() > 1, "this is the only process"),
        "mix_draw": (has_view, "there is no second view"),
        "bbox": ("cutmix" in (mode or ""), "it is for cutmix"),
        "mix_n_run": (picks(mode), "nothing is picked, as by --mix_mode cutmix_pick"),
        "ceiling_ratio_schedule": ("cutmix" in (mode or ""), "it is for cutmix"),
        "floor_ratio_schedule": ("cutmix" in (mode or ""), "it is for cutmix"),
        "n_pick": (picks(mode), "nothing is picked"),
        "cutmix_pick_criterion": (picks(mode), "nothing is picked"),
        "bn_views": (has_view and not measures, "no student is trained on a second view"),
        "save_img_interval": (has_view, "there is no second view"),
        "t_output_as_target_for_input_mix": (has_view, "there is no second view"),
        "dev_split": (not measures or data == "folder", "a T. stddev pass evaluates nothing"),
    }
    if has_view and all("draw" in stage.values for stage in parse(mode)):
        rules["mix_draw"] = False, "every stage has its own draw="
    return rules


def describe(options: Options, defaults: Options, device: torch.device) -> list[str]:
    """A warning for each option that was given and has no effect here. defaults: of a command
    without any flag."""
    rules = rules_of_data_and_views(options, device)
    rules |= rules_of_methods(options) | rules_of_training(options)
    lines = []
    for name, (has_effect, why) in rules.items():
        if has_effect or not hasattr(options, name):
            continue
        value, default = getattr(options, name), getattr(defaults, name)
        if name == "n_pick":
            default = options.batch_size
        if name == "lr_decay_epochs" and options.epoch_factor:
            default = [int(epoch * options.epoch_factor) for epoch in default]
        if value not in (default, None, ""):
            value = ",".join(map(str, value)) if isinstance(value, list) else value
            shown = "" if value is True else f" {value}"
            lines.append(f"warning: --{name}{shown} has no effect: {why}")
    if not has_tensorboard():
        lines.append(
            "warning: TensorBoard is not installed, so there is no tb/: pip install tensorboard"
        )
    return lines
