"""ShuffleNet, three groups, for small images.

Zhang, Zhou, Lin and Sun, "ShuffleNet: An Extremely Efficient Convolutional Neural Network for
Mobile Devices", CVPR 2018, arXiv:1707.01083. Deviates from it as the distillation benchmarks do
(Tian et al., ICLR 2020, arXiv:1910.10699): a 1x1 stem of stride 1 without pooling, a ReLU after the
depthwise convolution too, and in a block of stride 2 a bottleneck of a quarter of the channels that
the block adds, not of all its outputs. Works at any image size.

32 px, 100 classes; a multiply-add is two FLOPs (models/model_info.py):

    model      parameters       FLOPs
    ShuffleV1     949,258  77,382,912
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.init import init_as_pytorch
from models.registry import model_dict
from models.resnet import make_stage

GROUPS = 3


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """(B, C, H, W) with the channels (g, C/g) transposed: a group's channels go to all groups."""
    x = x.unflatten(1, (groups, -1))  # (B, g, C/g, H, W)
    return x.transpose(1, 2).flatten(1, 2)  # (B, C, H, W)


class ShuffleBlock(nn.Module):
    """Grouped 1x1 -> shuffle -> depthwise 3x3 -> grouped 1x1, and x added (stride 1) or appended.

    The block's last ReLU is left to its `Stage`.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        """Stride 2 appends the average-pooled x, so the branch gives `channels - in_channels`."""
        super().__init__()
        branch = channels if stride == 1 else channels - in_channels
        inner = branch // 4
        self.stride = stride
        self.groups = (
            1 if in_channels == 24 else GROUPS
        )  # after the stem: too few channels for groups
        self.conv1 = nn.Conv2d(in_channels, inner, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, branch, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(branch)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H/stride, W/stride), before the ReLU."""
        out = channel_shuffle(self.bn1(self.conv1(x)), self.groups)
        out = F.relu(
            out, inplace=True
        )  # after the shuffle, of which the backward passes then keep one copy
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        if self.stride == 1:
            out += x
            return out
        return torch.cat([out, F.avg_pool2d(x, 3, stride=2, padding=1)], dim=1)


class ShuffleNetV1(nn.Module):
    """Five features: the stem and three stages after ReLU, and the pooled vector (B, 960).

    `preact=True` gives the three stages' maps before their last ReLU.
    """

    def __init__(self, *, num_classes: int = 100, img_size: int = 32) -> None:
        """`img_size` changes nothing here."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.layer1 = make_stage(ShuffleBlock, 24, 240, blocks=4, stride=2)
        self.layer2 = make_stage(ShuffleBlock, 240, 480, blocks=8, stride=2)
        self.layer3 = make_stage(ShuffleBlock, 480, 960, blocks=4, stride=2)
        self.linear = nn.Linear(960, num_classes)
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_as_pytorch(self, generator)

    def get_feat_modules(self) -> nn.ModuleList:
        return nn.ModuleList([self.conv1, self.bn1, self.layer1, self.layer2, self.layer3])

    def get_bn_before_relu(self) -> list[nn.Module]:
        return [stage[-1].get_submodule("bn3") for stage in (self.layer1, self.layer2, self.layer3)]

    def forward(
        self, x: Tensor, is_feat: bool = False, preact: bool = False
    ) -> Tensor | tuple[list[Tensor], Tensor]:
        """x (B, 3, H, W) -> logits (B, K), or (features, logits)."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        features = [x]
        for stage in (self.layer1, self.layer2, self.layer3):
            x, before_relu = stage(x)
            features.append(before_relu if preact else x)
        vector = F.adaptive_avg_pool2d(x, 1).flatten(1)  # (B, 960)
        features.append(vector)
        logits = self.linear(vector)
        return (features, logits) if is_feat else logits


model_dict.register("ShuffleV1", ShuffleNetV1)
