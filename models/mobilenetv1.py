"""MobileNetV1, as the distillation papers use it on ImageNet.

Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto and Adam, "MobileNets: Efficient
Convolutional Neural Networks for Mobile Vision Applications", 2017, arXiv:1704.04861, table 1, at
width 1. The last block has stride 1, as in later implementations; the table's second stride of 2
there is a misprint. Works at any image size.

32 px, 100 classes; a multiply-add is two FLOPs (models/model_info.py):

    model        parameters       FLOPs
    MobileNetV1     3,309,476  23,376,896
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.init import init_as_pytorch
from models.registry import model_dict

# (channels, stride) of each block
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
FEATURE_BLOCKS = (3, 5, 11, 13)
"""The blocks, counted from 1, whose maps are features: the last at each resolution."""


def _conv_bn_relu(
    in_channels: int, channels: int, size: int, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(
        in_channels, channels, size, stride, padding=size // 2, groups=groups, bias=False
    )
    return [conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def _block(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    """Depthwise 3x3 -> 1x1, each with BatchNorm and ReLU."""
    return nn.Sequential(
        *_conv_bn_relu(in_channels, in_channels, 3, stride=stride, groups=in_channels),
        *_conv_bn_relu(in_channels, channels, 1),
    )


@model_dict.register("MobileNetV1")
class MobileNetV1(nn.Module):
    """Six features: the stem and blocks 3, 5, 11 and 13 after ReLU, and the vector (B, 1024).

    `preact=True` gives the four blocks' maps before their last ReLU.
    """

    def __init__(self, *, num_classes: int = 100, img_size: int = 32) -> None:
        """`img_size` changes nothing here."""
        super().__init__()
        self.model = nn.Sequential(nn.Sequential(*_conv_bn_relu(3, 32, 3, stride=2)))
        in_channels = 32
        for channels, stride in BLOCKS:
            self.model.append(_block(in_channels, channels, stride))
            in_channels = channels
        self.fc = nn.Linear(1024, num_classes)
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_as_pytorch(self, generator)

    def get_feat_modules(self) -> nn.ModuleList:
        return nn.ModuleList([self.model])

    def get_bn_before_relu(self) -> list[nn.Module]:
        return [list(self.model[block].children())[-2] for block in FEATURE_BLOCKS]

    def forward(
        self, x: Tensor, is_feat: bool = False, preact: bool = False
    ) -> Tensor | tuple[list[Tensor], Tensor]:
        """x (B, 3, H, W) -> logits (B, K), or (features, logits)."""
        features = []
        for index, block in enumerate(self.model):
            before_relu = x
            # One by one: a part of a Sequential is a new module, which cannot be traced.
            for layer in list(block.children())[:-1]:
                before_relu = layer(before_relu)
            x = F.relu(before_relu, inplace=not preact)
            if index == 0:
                features.append(x)
            elif index in FEATURE_BLOCKS:
                features.append(before_relu if preact else x)
        vector = F.adaptive_avg_pool2d(x, 1).flatten(1)  # (B, 1024)
        features.append(vector)
        logits = self.fc(vector)
        return (features, logits) if is_feat else logits
