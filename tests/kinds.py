"""A model of every kind, for tests that need no more: deeper and wider ones have no other
layers."""

import functools

import pytest
import torch
from torch import nn

from models import model_dict

KINDS = [
    "resnet8", "resnet18", "resnet50", "ResNet18", "ResNet50", "wrn_16_1", "vgg8_3neurons", "vgg11",
    "MobileNetV1", "MobileNetV2_0_25", "ShuffleV1", "ShuffleV2_0_3",
]  # fmt: skip
"""`test_every_kind_is_listed` holds it to the zoo."""
CLASSES = {32: 100, 64: 200, 224: 1000}
"""Image size in pixels -> classes of the data set with such images."""

# The scope makes pytest run the tests of one name together: they share its model.
each_name = pytest.mark.parametrize("name", list(model_dict), scope="module")
each_kind = pytest.mark.parametrize("name", KINDS, scope="module")


def kind_of(name):
    """The model's class and the classes of its layers."""
    model = without_weights(name, 32)
    return type(model), frozenset(type(layer) for layer in model.modules())


@functools.cache
def without_weights(name: str, size: int) -> nn.Module:
    """On the meta device, in eval mode. Shared by all tests, not to be changed."""
    with torch.device("meta"):
        return model_dict[name](num_classes=CLASSES[size], img_size=size).eval()
