"""ResNets for small images: depth 6n + 2, three stages of n basic blocks.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385,
section 4.2. Deviates from it as the distillation benchmarks do (Tian et al., ICLR 2020,
arXiv:1910.10699): a shortcut that changes shape is a 1x1 convolution with BatchNorm (the paper's
option B, not A), and the x2 and x4 models are wider, with the widths of D. Chen et al., CVPR 2022,
arXiv:2203.14001. Works at any image size.

32 px, 100 classes; a multiply-add is two FLOPs (models/model_info.py):

    model        parameters          FLOPs
    resnet8          83,892     25,014,784
    resnet14        181,108     53,326,336
    resnet20        278,324     81,637,888
    resnet32        472,756    138,260,992
    resnet38        569,972    166,572,544
    resnet44        667,188    194,884,096
    resnet56        861,620    251,507,200
    resnet110     1,736,564    506,311,168
    resnet116     1,833,780    534,622,720
    resnet14x2      708,228    211,510,272
    resnet38x2    2,260,100    664,495,104
    resnet110x2   6,915,716  2,023,449,600
    resnet8x4     1,233,540    354,142,208
    resnet14x4    2,783,620    807,127,040
    resnet32x4    7,433,860  2,166,081,536
    resnet38x4    8,983,940  2,619,066,368
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.init import init_convs_and_norms, init_uniform
from models.registry import model_dict


def make_shortcut(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    """Where the shape changes a 1x1 convolution with BatchNorm, else nothing: x itself."""
    if stride == 1 and in_channels == channels:
        return nn.Sequential()
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
    )


class BasicBlock(nn.Module):
    """relu(bn(conv(x))) -> bn(conv(.)) + shortcut. The block's last ReLU is left to its `Stage`."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, *, shortcut_key: str = "downsample"
    ) -> None:
        """`shortcut_key`: the shortcut's name in the state dict."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut_key = shortcut_key
        self.add_module(shortcut_key, make_shortcut(in_channels, channels, stride))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H/stride, W/stride), before the ReLU."""
        shortcut = getattr(self, self.shortcut_key)(x)
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += shortcut
        return out


class Stage(nn.Sequential):
    """Blocks that return their pre-activation, a ReLU after each."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The last block's output after and before its ReLU."""
        for block in self:
            before_relu = block(x)
            x = F.relu(before_relu, inplace=block is not self[-1])
        return x, before_relu


def make_stage(
    block: Callable[[int, int, int], nn.Module],
    in_channels: int,
    channels: int,
    *,
    blocks: int,
    stride: int,
) -> Stage:
    """`blocks` blocks from `block(in_channels, channels, stride)`; the first has the stride."""
    first = block(in_channels, channels, stride)
    return Stage(first, *(block(channels, channels, 1) for _ in range(blocks - 1)))


class ResNet(nn.Module):
    """Five features: the stem and three stages after ReLU, and the pooled vector.

    `preact=True` gives the three stages' maps before their last ReLU.
    """

    def __init__(
        self, depth: int, widths: Sequence[int], *, num_classes: int = 100, img_size: int = 32
    ) -> None:
        """`widths`: channels of the stem and the three stages. `img_size` changes nothing here."""
        super().__init__()
        assert (depth - 2) % 6 == 0, depth
        blocks = (depth - 2) // 6
        stem, *stages = widths
        self.conv1 = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = make_stage(BasicBlock, stem, stages[0], blocks=blocks, stride=1)
        self.layer2 = make_stage(BasicBlock, stages[0], stages[1], blocks=blocks, stride=2)
        self.layer3 = make_stage(BasicBlock, stages[1], stages[2], blocks=blocks, stride=2)
        self.fc = nn.Linear(stages[2], num_classes)
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_convs_and_norms(self, generator)
        init_uniform(self.fc, generator)

    def get_feat_modules(self) -> nn.ModuleList:
        return nn.ModuleList(
            [self.conv1, self.bn1, self.relu, self.layer1, self.layer2, self.layer3]
        )

    def get_bn_before_relu(self) -> list[nn.Module]:
        return [stage[-1].get_submodule("bn2") for stage in (self.layer1, self.layer2, self.layer3)]

    def forward(
        self, x: Tensor, is_feat: bool = False, preact: bool = False
    ) -> Tensor | tuple[list[Tensor], Tensor]:
        """x (B, 3, H, W) -> logits (B, K), or (features, logits)."""
        x = self.relu(self.bn1(self.conv1(x)))
        features = [x]
        for stage in (self.layer1, self.layer2, self.layer3):
            x, before_relu = stage(x)
            features.append(before_relu if preact else x)
        vector = F.adaptive_avg_pool2d(x, 1).flatten(1)  # (B, C)
        features.append(vector)
        logits = self.fc(vector)
        return (features, logits) if is_feat else logits


for _depth in (8, 14, 20, 32, 38, 44, 56, 110, 116):
    model_dict.register(f"resnet{_depth}", partial(ResNet, _depth, (16, 16, 32, 64)))
for _depth in (14, 38, 110):
    model_dict.register(f"resnet{_depth}x2", partial(ResNet, _depth, (32, 32, 64, 128)))
for _depth in (8, 14, 32, 38):
    model_dict.register(f"resnet{_depth}x4", partial(ResNet, _depth, (32, 64, 128, 256)))
