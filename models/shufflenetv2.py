"""ShuffleNet V2 for small images, at width 1 and at one third of it.

Ma, Zhang, Zheng and Sun, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture
Design", ECCV 2018, arXiv:1807.11164. Deviates from it as the distillation benchmarks do (Tian et
al., ICLR 2020, arXiv:1910.10699): a 1x1 stem of stride 1 without pooling. The narrower model's
widths are none of the paper's. Works at any image size.

32 px, 100 classes; a multiply-add is two FLOPs (models/model_info.py):

    model          parameters       FLOPs
    ShuffleV2       1,355,528  89,008,896
    ShuffleV2_1_5   2,580,548 187,524,096
    ShuffleV2_0_3     235,588  13,096,448
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.init import init_as_pytorch
from models.registry import model_dict
from models.shufflenetv1 import channel_shuffle


class BasicBlock(nn.Module):
    """Half of the channels as they are, half through 1x1 -> depthwise 3x3 -> 1x1.

    The block's last ReLU and shuffle are left to its `Stage`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), before the ReLU."""
        kept, out = x.chunk(2, dim=1)  # (B, C/2, H, W) each
        out = F.relu(self.bn1(self.conv1(out)), inplace=True)
        out = self.bn2(self.conv2(out))
        return torch.cat([kept, self.bn3(self.conv3(out))], dim=1)


class DownBlock(nn.Module):
    """All channels through two branches: depthwise 3x3 -> 1x1 and 1x1 -> depthwise 3x3 -> 1x1.

    The block's last ReLU and shuffle are left to its `Stage`.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(
            in_channels, in_channels, 3, 2, padding=1, groups=in_channels, bias=False
        )
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv2 = nn.Conv2d(in_channels, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(in_channels, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, 2, padding=1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H/2, W/2), before the ReLU."""
        left = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        right = F.relu(self.bn3(self.conv3(x)), inplace=True)
        right = self.bn5(self.conv5(self.bn4(self.conv4(right))))
        return torch.cat([left, right], dim=1)


class Stage(nn.Sequential):
    """Blocks that return their pre-activation, a ReLU and a shuffle after each.

    The half that a basic block keeps has been through a ReLU: a second one leaves it as it is.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The last block's output after ReLU and shuffle, and before both."""
        for block in self:
            before_relu = block(x)
            # Shuffled first, of which the copy is made: then it is all that the backward passes
            # keep.
            x = F.relu(channel_shuffle(before_relu, groups=2), inplace=True)
        return x, before_relu


def _stage(in_channels: int, channels: int, basic_blocks: int) -> Stage:
    return Stage(
        DownBlock(in_channels, channels), *(BasicBlock(channels) for _ in range(basic_blocks))
    )


class ShuffleNetV2(nn.Module):
    """Five features: the stem and three stages after ReLU, and the pooled vector.

    `preact=True` gives the three stages' maps before their last ReLU and their last shuffle: relu()
    of one has the channels of the usual feature in another order.
    """

    def __init__(
        self, widths: Sequence[int], *, num_classes: int = 100, img_size: int = 32
    ) -> None:
        """`widths`: channels of the stages and of the vector. `img_size` changes nothing here."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.layer1 = _stage(24, widths[0], basic_blocks=3)
        self.layer2 = _stage(widths[0], widths[1], basic_blocks=7)
        self.layer3 = _stage(widths[1], widths[2], basic_blocks=3)
        self.conv2 = nn.Conv2d(widths[2], widths[3], 1, bias=False)
        self.bn2 = nn.BatchNorm2d(widths[3])
        self.linear = nn.Linear(widths[3], num_classes)
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_as_pytorch(self, generator)

    def get_feat_modules(self) -> nn.ModuleList:
        return nn.ModuleList([self.conv1, self.bn1, self.layer1, self.layer2, self.layer3])

    def get_bn_before_relu(self) -> list[nn.Module]:
        """Their outputs are the second half of the channels of the features before ReLU."""
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
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        vector = F.adaptive_avg_pool2d(x, 1).flatten(1)  # (B, C)
        features.append(vector)
        logits = self.linear(vector)
        return (features, logits) if is_feat else logits


model_dict.register("ShuffleV2", partial(ShuffleNetV2, (116, 232, 464, 1024)))
model_dict.register("ShuffleV2_1_5", partial(ShuffleNetV2, (176, 352, 704, 1024)))
model_dict.register("ShuffleV2_0_3", partial(ShuffleNetV2, (40, 80, 160, 512)))
