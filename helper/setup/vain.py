"""What a command asks for without effect, for both scripts: no option is passed over in silence."""

import torch

from augment import parse, picks
from distiller_zoo import distillers, parse_methods
from helper.cli.parser import Options
from helper.processes import distributed
from helper.run.folder import has_tensorboard

SIZED = ("synthetic", "folder")
"""Data sets whose images have the size that --img_size says."""
CACHED = ("tinyimagenet", "svhn", "folder")
DECODED = ("tinyimagenet", "imagenet", "imagenet100", "folder")


OF_METHODS = ("nce_k", "nce_t", "nce_m", "mode", "feat_dim", "hint_layer")
"""Flags that are keys of single methods. --kd_T and --kd_S are told of in plan.py."""


def rules_of_methods(options: Options) -> dict[str, tuple[bool, str]]:
    """Flag -> (whether a chosen method reads it, why not)."""
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


def describe(options: Options, defaults: Options, device: torch.device) -> list[str]:
    """A warning for each option that was given and has no effect here. defaults: of a command
    without any flag."""
    data, mode = options.dataset, options.mix_mode
    has_view = bool(getattr(options, "lw_mix", None)) if hasattr(options, "lw_mix") else bool(mode)
    measures = getattr(options, "fix_student", False)
    rules = {
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
        "mix_n_run": (picks(mode), "nothing is picked"),
        "ceiling_ratio_schedule": ("cutmix" in (mode or ""), "it is for cutmix"),
        "floor_ratio_schedule": ("cutmix" in (mode or ""), "it is for cutmix"),
        "n_pick": (picks(mode), "nothing is picked"),
        "cutmix_pick_criterion": (picks(mode), "nothing is picked"),
        "bn_views": (has_view and not measures, "no student is trained on a second view"),
        "save_img_interval": (has_view, "there is no second view"),
        "dev_split": (not measures or data == "folder", "a T. stddev pass evaluates nothing"),
    }
    if has_view and all("draw" in stage.values for stage in parse(mode)):
        rules["mix_draw"] = False, "every stage has its own draw="
    lines = []
    for name, (has_effect, why) in (rules | rules_of_methods(options)).items():
        if has_effect or not hasattr(options, name):
            continue
        value, default = getattr(options, name), getattr(defaults, name)
        if name == "n_pick":
            default = options.batch_size
        if value not in (default, None, ""):
            shown = "" if value is True else f" {value}"
            lines.append(f"warning: --{name}{shown} has no effect: {why}")
    if not has_tensorboard():
        lines.append(
            "warning: TensorBoard is not installed, so there is no tb/: pip install tensorboard"
        )
    return lines
