"""The text that --list prints."""

import re
import sys
from typing import Any

import torch

from augment import mix_modes, pick_criteria
from augment.keys import spell
from dataset import DataRequest, datasets
from distiller_zoo import distillers
from models import model_dict
from models.model_info import count_flops, count_parameters

STAGES = """stages of --mix_mode: NAME:key=value,key=value, joined by +, from left to right.
One that mixes images (*) comes last, but for a pick. Each takes p= (how often it happens: 1) and
draw= (batch, sample: as --mix_draw). tv.CLASS:argument=value,... is any transform of
torchvision.transforms.v2. Keys with their defaults:"""


def stage_lines() -> list[str]:
    """Every stage with its paper and keys."""
    lines = [STAGES]
    for name in mix_modes:
        kind = mix_modes[name]
        summary = (kind.__doc__ or "").strip().split("\n")[0].split(". ")[0].rstrip(".")
        mark = "*" if kind.mixes else " "
        paper = f" ({kind.paper})" if kind.paper else ""
        lines.append(f"{mark} {name:<16} {summary}{paper}")
        for word, one in kind.keys().items() if "+" not in name else ():
            if word == "draw" or (word == "p" and one.default == 1):
                continue
            default = "" if one.default is None else spell(one.default)
            lines.append(f"      {f'{word}={default}':<26} {one.range()}: {one.help}")
    return lines


DISTILLERS = """distillers of --distill: NAME:key=value,key=value, joined by +. Each takes weight=
in place of -a (logits) or -b (features). Values that were published for a pair go before the
defaults shown here. Keys with their defaults:"""


def distiller_lines() -> list[str]:
    """Every distiller with the first line of its file and its keys."""
    lines = [DISTILLERS]
    for name in distillers:
        kind = distillers[name]
        about = (sys.modules[kind.__module__].__doc__ or "").strip().split("\n")[0]
        weight = f"weight={kind.default_weight:g}"
        lines.append(f"  {name:<12} {weight:<13} {about}")
        for word, one in list(kind.keys().items())[1:]:
            default = f"--{one.flag}" if one.default is None else spell(one.default)
            lines.append(f"      {f'{word}={default}':<26} {one.range()}: {one.help}")
    return lines


def size_of(name: str) -> tuple[int, int]:
    """(parameters, FLOPs): from the table in its file's docstring, or counted, as a plugin's."""
    builder: Any = model_dict[name]
    table = sys.modules[getattr(builder, "func", builder).__module__].__doc__ or ""
    if row := re.search(rf"^ +{re.escape(name)} +([\d,]+) +([\d,]+)$", table, re.MULTILINE):
        parameters, flops = (int(number.replace(",", "")) for number in row.groups())
        return parameters, flops
    with torch.device("meta"):  # shapes are enough
        model = builder(num_classes=100, img_size=32)
    return count_parameters(model), count_flops(model, 32)


def listing() -> str:
    """Models with parameters and FLOPs (32 px, 100 classes), stages, distillers and data sets."""
    lines = [
        "models              parameters       FLOPs   (100 classes, 32x32 pixels; a multiply-add is"
        " 2 FLOPs)"
    ]
    for name in model_dict:
        parameters, flops = size_of(name)
        lines.append(f"  {name:<16} {parameters / 1e6:>9.2f} M {flops / 1e6:>9.1f} M")
    lines.append(
        "  timm.NAME, torchvision.NAME: any classifier of these libraries, see models/README.md"
    )
    lines += ["", *stage_lines(), ""]
    lines.append("pick criteria    " + "  ".join(pick_criteria))
    lines += ["", *distiller_lines()]
    lines.append("\ndata sets        classes  pixels")
    for name in datasets:
        if name == "folder":
            lines.append(
                "  folder          your own images: --data_root DIR, see dataset/README.md"
            )
            continue
        spec = datasets[name].spec(DataRequest())
        lines.append(f"  {name:<14} {spec.num_classes:>7}  {spec.img_size}x{spec.img_size}")
    return "\n".join(lines)
