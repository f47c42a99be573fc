"""The networks, by name, one family a file.

Every model, built by `model_dict[name](num_classes=100, img_size=32)`, offers

    model(images)                              -> logits
    model(images, is_feat=True, preact=False)  -> (features, logits)
    model.get_feat_modules()                   -> nn.ModuleList: what the features depend on
    model.init_weights(generator=None)         draws every parameter anew, resets every buffer

with images (B, 3, H, W) normalised, logits (B, K), and features a list of the stem's and each
stage's map (B, C, H, W), then the pooled vector (B, C): the convention of the field since CRD (Tian
et al., ICLR 2020, arXiv:1910.10699). `preact=True` gives the stages' maps before their last ReLU.
The keys of the state dicts are those of the public checkpoints. Those in this folder also have
CRD's get_bn_before_relu(), the last BatchNorm of each later stage; no method here asks for it.

A new family is a file that registers its names, and an import of that file here.
"""

from typing import Any

import torch
from torch import nn

from models import (  # noqa: F401  (they register their models, listed in this order)
    resnet,
    resnet_four_stages,
    wrn,
    vgg,
    mobilenetv1,
    mobilenetv2,
    shufflenetv1,
    shufflenetv2,
)
from models.registry import model_dict

__all__ = ["build_model", "model_dict"]


def build_model(
    name: str, *, num_classes: int, img_size: int, generator: torch.Generator
) -> nn.Module:
    """The model `name` on the CPU, its weights drawn from `generator`, a CPU generator.

    PyTorch's layers draw from the global generator when they are constructed; those draws are
    overwritten, and the global generator is left as it was found.
    Raises UserError for an unknown name.
    """
    factory = model_dict[name]
    with torch.random.fork_rng(devices=[]):
        model: Any = factory(num_classes=num_classes, img_size=img_size)
    model.init_weights(generator)
    return model
