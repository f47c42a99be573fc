"""Wide ResNets, wrn_<depth>_<width>: depth 6n + 4, three stages of n pre-activation blocks.

Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, arXiv:1605.07146, without dropout.
Works at any image size.

32 px, 100 classes; a multiply-add is two FLOPs (models/model_info.py):

    model        parameters          FLOPs
    wrn_16_1        180,916     53,326,336
    wrn_16_2        703,284    202,236,928
    wrn_40_1        569,780    166,572,544
    wrn_40_2      2,255,156    655,221,760
    wrn_28_10    36,536,884 10,486,772,736
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.init import init_convs_and_norms, init_uniform
from models.registry import model_dict


class PreactBlock(nn.Module):
    """conv(relu(bn(conv(relu(bn(x)))))) + shortcut.

    The shortcut is x itself, or a 1x1 convolution of relu(bn(x)) where the channels change.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.convShortcut = None  # the checkpoints' key
        if in_channels != channels:
            self.convShortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H/stride, W/stride)."""
        out = F.relu(self.bn1(x), inplace=True)
        shortcut = x if self.convShortcut is None else self.convShortcut(out)
        out = F.relu(self.bn2(self.conv1(out)), inplace=True)
        out = self.conv2(out)
        out += shortcut
        return out


class Stage(nn.Module):
    """`blocks` blocks in a row, under the checkpoints' key `layer`."""

    def __init__(self, in_channels: int, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        first = PreactBlock(in_channels, channels, stride)
        rest = (PreactBlock(channels, channels, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def _normalise_only(norm: nn.Module, x: Tensor) -> Tensor:
    """norm(x), its running statistics left as they are."""
    if not norm.training:
        return norm(x)
    assert isinstance(norm, nn.BatchNorm2d)
    return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)


class WideResNet(nn.Module):
    """Five features: the raw outputs (signed) of the stem and three stages, and the pooled vector.

    `preact=True` passes each stage's map through the BatchNorm that follows it: what the next
    ReLU sees. Their running statistics are left as they are (the original updates them).
    """

    def __init__(
        self, depth: int, width: int, *, num_classes: int = 100, img_size: int = 32
    ) -> None:
        """`img_size` changes nothing here."""
        super().__init__()
        assert (depth - 4) % 6 == 0, depth
        blocks = (depth - 4) // 6
        channels = 16 * width
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = Stage(16, channels, blocks, stride=1)
        self.block2 = Stage(channels, 2 * channels, blocks, stride=2)
        self.block3 = Stage(2 * channels, 4 * channels, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(4 * channels)
        self.fc = nn.Linear(4 * channels, num_classes)
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_convs_and_norms(self, generator)
        init_uniform(self.fc, generator)
        nn.init.zeros_(self.fc.bias)

    def get_feat_modules(self) -> nn.ModuleList:
        return nn.ModuleList([self.conv1, self.block1, self.block2, self.block3])

    def get_bn_before_relu(self) -> list[nn.Module]:
        later = (self.block2, self.block3)
        return [*(block.layer[0].get_submodule("bn1") for block in later), self.bn1]

    def forward(
        self, x: Tensor, is_feat: bool = False, preact: bool = False
    ) -> Tensor | tuple[list[Tensor], Tensor]:
        """x (B, 3, H, W) -> logits (B, K), or (features, logits)."""
        stem = self.conv1(x)
        map1 = self.block1(stem)
        map2 = self.block2(map1)
        map3 = self.block3(map2)
        vector = F.adaptive_avg_pool2d(F.relu(self.bn1(map3), inplace=True), 1).flatten(1)  # (B, C)
        logits = self.fc(vector)
        if not is_feat:
            return logits
        maps = [map1, map2, map3]
        if preact:
            norms = self.get_bn_before_relu()
            maps = [_normalise_only(norm, map_) for norm, map_ in zip(norms, maps, strict=True)]
        return [stem, *maps, vector], logits


for _depth, _width in ((16, 1), (16, 2), (40, 1), (40, 2), (28, 10)):
    model_dict.register(f"wrn_{_depth}_{_width}", partial(WideResNet, _depth, _width))
