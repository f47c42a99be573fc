"""A model of every kind, for tests that need no more: deeper and wider ones have no other
layers."""

import torch

from models import model_dict

KINDS = [
    "resnet8", "resnet18", "resnet50", "ResNet18", "ResNet50", "wrn_16_1", "vgg8_3neurons", "vgg11",
    "MobileNetV1", "MobileNetV2_0_25", "ShuffleV1", "ShuffleV2_0_3",
]  # fmt: skip
"""`test_every_kind_is_listed` holds it to the zoo."""


def kind_of(name):
    """The model's class and the classes of its layers."""
    with torch.device("meta"):
        model = model_dict[name](num_classes=100, img_size=32)
    return type(model), frozenset(type(layer) for layer in model.modules())
