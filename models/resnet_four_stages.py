"""ResNets of four stages: resnet18, 34, 50 (ImageNet); ResNet18, 34, 50, 101, 152 (small).

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385,
section 4.1. A bottleneck's stride is on its 3x3 convolution; in the paper on its first. The lower
case names are torchvision's networks with its keys: its checkpoints load. The capital ones have a
3x3 stem of stride 1 without pooling, so that 32 px images end as 4 x 4 maps, and the keys of the
distillation benchmarks (Tian et al., ICLR 2020, arXiv:1910.10699). Works at any image size.

32 px, 100 classes; a multiply-add is two FLOPs (models/model_info.py):

    model     parameters          FLOPs
    resnet18  11,227,812     74,125,312
    resnet34  21,335,972    149,622,784
    resnet50  23,712,932    167,231,488
    ResNet18  11,220,132  1,110,937,600
    ResNet34  21,328,292  2,318,897,152
    ResNet50  23,705,252  2,596,028,416
    ResNet101 42,697,380  5,020,336,128
    ResNet152 58,341,028  7,444,643,840
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.init import init_convs_and_norms, init_uniform
from models.registry import model_dict
from models.resnet import BasicBlock, Stage, make_shortcut, make_stage


class Bottleneck(nn.Module):
    """1x1 -> 3x3 -> 1x1 with BatchNorm + shortcut; a quarter of the channels inside.

    The block's last ReLU is left to its `Stage`.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, *, shortcut_key: str) -> None:
        """`shortcut_key`: the shortcut's name in the state dict."""
        super().__init__()
        inner = channels // 4
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.shortcut_key = shortcut_key
        self.add_module(shortcut_key, make_shortcut(in_channels, channels, stride))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H/stride, W/stride), before the ReLU."""
        shortcut = getattr(self, self.shortcut_key)(x)
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out += shortcut
        return out


class FourStageResNet(nn.Module):
    """Six features: the stem before pooling, four stages after ReLU, and the pooled vector.

    `preact=True` gives the four stages' maps before their last ReLU.
    """

    def __init__(
        self,
        block: Callable[..., nn.Module],
        width: int,
        blocks: Sequence[int],
        *,
        imagenet: bool,
        num_classes: int = 100,
        img_size: int = 32,
    ) -> None:
        """`width`: the first stage's channels. `blocks`: blocks in each stage.

        `imagenet`: torchvision's stem and keys. `img_size` changes nothing here.
        """
        super().__init__()
        if imagenet:
            self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
            self.pool = nn.MaxPool2d(3, stride=2, padding=1)
            shortcut_key, self.classifier_key = "downsample", "fc"
        else:
            self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            self.pool = nn.Identity()
            shortcut_key, self.classifier_key = "shortcut", "linear"
        self.bn1 = nn.BatchNorm2d(64)
        block = partial(block, shortcut_key=shortcut_key)
        self.layer1 = make_stage(block, 64, width, blocks=blocks[0], stride=1)
        self.layer2 = make_stage(block, width, 2 * width, blocks=blocks[1], stride=2)
        self.layer3 = make_stage(block, 2 * width, 4 * width, blocks=blocks[2], stride=2)
        self.layer4 = make_stage(block, 4 * width, 8 * width, blocks=blocks[3], stride=2)
        self.add_module(self.classifier_key, nn.Linear(8 * width, num_classes))
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_convs_and_norms(self, generator)
        init_uniform(getattr(self, self.classifier_key), generator)

    def _stages(self) -> list[Stage]:
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def get_feat_modules(self) -> nn.ModuleList:
        return nn.ModuleList([self.conv1, self.bn1, *self._stages()])

    def get_bn_before_relu(self) -> list[nn.Module]:
        last_blocks = [stage[-1] for stage in self._stages()]
        return [
            block.get_submodule("bn3" if isinstance(block, Bottleneck) else "bn2")
            for block in last_blocks
        ]

    def forward(
        self, x: Tensor, is_feat: bool = False, preact: bool = False
    ) -> Tensor | tuple[list[Tensor], Tensor]:
        """x (B, 3, H, W) -> logits (B, K), or (features, logits)."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        features = [x]
        x = self.pool(x)
        for stage in self._stages():
            x, before_relu = stage(x)
            features.append(before_relu if preact else x)
        vector = F.adaptive_avg_pool2d(x, 1).flatten(1)  # (B, C)
        features.append(vector)
        logits = getattr(self, self.classifier_key)(vector)
        return (features, logits) if is_feat else logits


_SHAPES = {
    18: (BasicBlock, 64, (2, 2, 2, 2)),
    34: (BasicBlock, 64, (3, 4, 6, 3)),
    50: (Bottleneck, 256, (3, 4, 6, 3)),
    101: (Bottleneck, 256, (3, 4, 23, 3)),
    152: (Bottleneck, 256, (3, 8, 36, 3)),
}
for _depth in (18, 34, 50):
    model_dict.register(
        f"resnet{_depth}", partial(FourStageResNet, *_SHAPES[_depth], imagenet=True)
    )
for _depth in (18, 34, 50, 101, 152):
    model_dict.register(
        f"ResNet{_depth}", partial(FourStageResNet, *_SHAPES[_depth], imagenet=False)
    )
