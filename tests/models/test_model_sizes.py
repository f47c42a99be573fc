"""Parameters and FLOPs of the zoo, and shapes that papers state."""

import copy
import re
import sys

import pytest
import torch
import torchvision
from kinds import each_kind, each_name, without_weights
from recipe import load_recipe, recipe_images
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models import model_dict
from models.model_info import count_flops, count_parameters

# ---- size


@each_name
def test_the_docstrings_table_holds_the_models_size(name: str) -> None:
    model = without_weights(name, 32)
    table = sys.modules[type(model).__module__].__doc__
    row = re.search(rf"^ +{name} +([\d,]+) +([\d,]+)$", table, re.MULTILINE)
    assert row, f"no row for {name}"
    right = (f"{count_parameters(model):,}", f"{count_flops(model, 32):,}")
    assert row.groups() == right, f"the row of {name} should have {right}"


@each_kind
def test_flops_are_those_that_pytorch_counts(name: str) -> None:
    model = without_weights(name, 32)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(torch.empty(1, 3, 32, 32, device="meta"))
    assert count_flops(model, 32) == counter.get_total_flops()


@pytest.mark.parametrize("name", ["ResNet34", "ResNet101", "ResNet152"])
def test_resnets_for_small_images_are_torchvisions_but_for_the_stem(name: str) -> None:
    with torch.device("meta"):
        other = getattr(torchvision.models, name.lower())(num_classes=100)
    stem = 64 * 3 * (7 * 7 - 3 * 3)  # the larger kernel's weights
    assert count_parameters(without_weights(name, 32)) == count_parameters(other) - stem


def test_mobilenetv1_is_as_large_as_the_paper_says() -> None:
    """4.2 million parameters, 569 million multiply-adds at 224 pixels, and the features' shapes."""
    model = without_weights("MobileNetV1", 224)
    assert round(count_parameters(model) / 1e6, 1) == 4.2
    assert round(count_flops(model, 224) / 2e6) == 569
    features, _ = model(torch.zeros(1, 3, 224, 224, device="meta"), is_feat=True)
    shapes = [(32, 112), (128, 56), (256, 28), (512, 14), (1024, 7)]
    assert [tuple(f.shape[1:3]) for f in features[:-1]] == shapes


def test_wider_resnets_have_wider_stages() -> None:
    for name, widths in (("resnet14x2", [32, 32, 64, 128]), ("resnet38x4", [32, 64, 128, 256])):
        features, _ = without_weights(name, 32)(
            torch.zeros(1, 3, 32, 32, device="meta"), is_feat=True
        )
        assert [f.shape[1] for f in features[:-1]] == widths


@torch.no_grad()
def test_mobilenetv1_before_and_after_relu() -> None:
    model = load_recipe(model_dict["MobileNetV1"]()).eval()
    after, _ = model(recipe_images(32), is_feat=True)
    before, _ = model(recipe_images(32), is_feat=True, preact=True)
    assert torch.equal(before[0], after[0]) and before[1].min() < 0
    for early, late in zip(before[1:5], after[1:5]):
        assert torch.equal(early.clamp(min=0), late)


def test_flops_by_hand() -> None:
    # 3x3 convolution 3 -> 8 on 16 x 16, then linear 8 -> 5
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 5),
    )  # fmt: skip
    before = copy.deepcopy(model.state_dict())
    assert count_flops(model, 16) == 2 * (9 * 3 * 8 * 16 * 16 + 8 * 5)
    assert model.training and model[0].weight.device.type == "cpu" and not model[0]._forward_hooks
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_frozen_parameters_count_too() -> None:
    """A teacher's are all frozen, and it is no smaller for that."""
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert count_parameters(model) == 8
