"""MobileNetV2 for small images, at its width, a half and a quarter of it.

Sandler, Howard, Zhu, Zhmoginov and Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
CVPR 2018, arXiv:1801.04381. Deviates from it as the distillation benchmarks do (Tian et al., ICLR
2020, arXiv:1910.10699): ReLU, not ReLU6, and stage 1 has stride 1, not 2. Other implementations
differ in two points: here the first block has an expanding convolution too (by 1), and the widths
are not rounded to multiples of 8. Works at any image size.

32 px, 100 classes; a multiply-add is two FLOPs (models/model_info.py):

    model             parameters       FLOPs
    MobileNetV2          812,836  13,047,296
    MobileNetV2_1_0    2,353,060  44,762,112
    MobileNetV2_0_25     364,492   4,286,208
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.init import init_convs_and_norms
from models.registry import model_dict

# (expansion, channels at width 1, blocks, stride of the first) of each stage
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FEATURE_STAGES = (1, 2, 4, 6)
"""The stages whose maps are features: the last at each resolution."""


def _conv_bn(
    in_channels: int, channels: int, size: int, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(
        in_channels, channels, size, stride, padding=size // 2, groups=groups, bias=False
    )
    return [conv, nn.BatchNorm2d(channels)]


class InvertedResidual(nn.Module):
    """Expand 1x1 -> depthwise 3x3 -> project 1x1, no last ReLU; + x where the shape stays."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = expansion * in_channels
        self.conv = nn.Sequential(
            *_conv_bn(in_channels, inner, 1),
            nn.ReLU(inplace=True),
            *_conv_bn(inner, inner, 3, stride=stride, groups=inner),
            nn.ReLU(inplace=True),
            *_conv_bn(inner, channels, 1),
        )
        self.residual = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H/stride, W/stride), signed."""
        out = self.conv(x)
        if self.residual:
            out += x
        return out


class MobileNetV2(nn.Module):
    """Six features: the stem after ReLU, the maps of stages 1, 2, 4 and 6, and the pooled vector.

    No ReLU follows a stage: its map is signed, and `preact=True` changes nothing.
    """

    def __init__(self, width: float, *, num_classes: int = 100, img_size: int = 32) -> None:
        """`width` scales all channels but the last 1280. `img_size` changes nothing here."""
        super().__init__()
        channels = int(32 * width)
        self.conv1 = nn.Sequential(*_conv_bn(3, channels, 3, stride=2), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential()
        for expansion, channels_at_1, blocks, stride in STAGES:
            in_channels, channels = channels, int(channels_at_1 * width)
            first = InvertedResidual(in_channels, channels, stride, expansion)
            rest = (InvertedResidual(channels, channels, 1, expansion) for _ in range(blocks - 1))
            self.blocks.append(nn.Sequential(first, *rest))
        self.conv2 = nn.Sequential(*_conv_bn(channels, 1280, 1), nn.ReLU(inplace=True))
        self.classifier = nn.Sequential(nn.Linear(1280, num_classes))
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_convs_and_norms(self, generator)
        linear = self.classifier[0]
        assert isinstance(linear, nn.Linear)
        nn.init.normal_(linear.weight, std=0.01, generator=generator)
        nn.init.zeros_(linear.bias)

    def get_feat_modules(self) -> nn.ModuleList:
        return nn.ModuleList([self.conv1, self.blocks])

    def get_bn_before_relu(self) -> list[nn.Module]:
        """The feature stages' last BatchNorm, though no ReLU follows it."""
        last_blocks = [list(self.blocks[stage].children())[-1] for stage in FEATURE_STAGES]
        return [list(block.get_submodule("conv").children())[-1] for block in last_blocks]

    def forward(
        self, x: Tensor, is_feat: bool = False, preact: bool = False
    ) -> Tensor | tuple[list[Tensor], Tensor]:
        """x (B, 3, H, W) -> logits (B, K), or (features, logits)."""
        x = self.conv1(x)
        features = [x]
        for stage, blocks in enumerate(self.blocks):
            x = blocks(x)
            if stage in FEATURE_STAGES:
                features.append(x)
        vector = F.adaptive_avg_pool2d(self.conv2(x), 1).flatten(1)  # (B, 1280)
        features.append(vector)
        logits = self.classifier(vector)
        return (features, logits) if is_feat else logits


model_dict.register("MobileNetV2", partial(MobileNetV2, 0.5))
model_dict.register("MobileNetV2_1_0", partial(MobileNetV2, 1.0))
model_dict.register("MobileNetV2_0_25", partial(MobileNetV2, 0.25))
