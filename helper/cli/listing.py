"""What --list prints."""

import torch

from augment import mix_modes, pick_criteria
from dataset import DataRequest, datasets
from distiller_zoo import distillers
from models import model_dict
from models.model_info import count_flops, count_parameters


def listing() -> str:
    """Models with parameters and FLOPs (32 px, 100 classes), mix modes, distillers and data sets."""
    lines = [
        "models              parameters       FLOPs   (100 classes, 32x32 pixels; a multiply-add is 2 FLOPs)"
    ]
    for name in model_dict:
        with torch.device("meta"):  # shapes are enough
            model = model_dict[name](num_classes=100, img_size=32)
        lines.append(
            f"  {name:<16} {count_parameters(model) / 1e6:>9.2f} M {count_flops(model, 32) / 1e6:>9.1f} M"
        )
    lines.append(
        "  timm.NAME, torchvision.NAME: any classifier of these libraries, see models/README.md"
    )
    lines.append("\nmix modes        " + "  ".join(mix_modes))
    lines.append("pick criteria    " + "  ".join(pick_criteria))
    lines.append("distillers       " + "  ".join(distillers))
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
