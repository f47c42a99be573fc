"""VGG with BatchNorm for small images: five blocks of 3x3 convolutions, one linear layer.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, arXiv:1409.1556. Deviates from it as the distillation benchmarks do (Tian et al., ICLR 2020,
arXiv:1910.10699): BatchNorm after each convolution (Ioffe and Szegedy, ICML 2015,
arXiv:1502.03167), global average pooling and one linear layer instead of three, a vgg8 with one
convolution a block, and fewer poolings: after blocks 0, 1 and 2, and after block 3 only if the
images' height is exactly 64. Works at any image size.

vgg8_3neurons and vgg13_3neurons, from the code of Wang et al., NeurIPS 2022, arXiv:2012.02909, have
one more linear layer: the classifier sees three neurons, a point of the unit sphere, easy to draw.

32 px, 100 classes; a multiply-add is two FLOPs (models/model_info.py):

    model           parameters          FLOPs
    vgg8             3,965,028    192,385,024
    vgg11            9,277,284    418,877,440
    vgg13            9,462,180    569,872,384
    vgg16           14,774,436    796,364,800
    vgg19           20,086,692  1,022,857,216
    vgg8_3neurons    3,915,667    192,286,296
    vgg13_3neurons   9,412,819    569,773,656
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.init import init_convs_and_norms
from models.registry import model_dict


def _block(in_channels: int, channels: int, convs: int) -> nn.Sequential:
    """conv, bn, relu, ..., conv, bn: without the last ReLU. (B, C_in, H, W) -> (B, C, H, W)."""
    layers: list[nn.Module] = []
    for index in range(convs):
        conv = nn.Conv2d(channels if index else in_channels, channels, 3, padding=1)
        layers += [conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


class VGG(nn.Module):
    """Six features: the five blocks after ReLU, before pooling, and the pooled vector (B, 512).

    `preact=True` gives blocks 1 to 4 before their last ReLU; block 0 stays after it.
    """

    def __init__(
        self,
        convs: Sequence[int],
        *,
        neurons: int | None = None,
        num_classes: int = 100,
        img_size: int = 32,
    ) -> None:
        """`convs`: convolutions in each block.

        `neurons`: what the classifier sees; None: the vector.

        `img_size` changes nothing here.
        """
        super().__init__()
        self.block0 = _block(3, 64, convs[0])
        self.block1 = _block(64, 128, convs[1])
        self.block2 = _block(128, 256, convs[2])
        self.block3 = _block(256, 512, convs[3])
        self.block4 = _block(512, 512, convs[4])
        self.pool0 = nn.MaxPool2d(2)
        self.pool1 = nn.MaxPool2d(2)
        self.pool2 = nn.MaxPool2d(2)
        self.pool3 = nn.MaxPool2d(2)
        self.pool4 = nn.AdaptiveAvgPool2d(1)
        self.embed = nn.Linear(512, neurons) if neurons else None
        self.classifier = nn.Linear(neurons or 512, num_classes)
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_convs_and_norms(self, generator)
        for linear in (self.embed, self.classifier):
            if linear is not None:
                nn.init.normal_(linear.weight, std=0.01, generator=generator)
                nn.init.zeros_(linear.bias)

    def _blocks_and_pools(self) -> list[tuple[nn.Sequential, nn.Module]]:
        return [
            (self.block0, self.pool0),
            (self.block1, self.pool1),
            (self.block2, self.pool2),
            (self.block3, self.pool3),
            (self.block4, self.pool4),
        ]

    def get_feat_modules(self) -> nn.ModuleList:
        return nn.ModuleList(module for pair in self._blocks_and_pools() for module in pair)

    def get_bn_before_relu(self) -> list[nn.Module]:
        return [block[-1] for block in (self.block1, self.block2, self.block3, self.block4)]

    def forward(
        self, x: Tensor, is_feat: bool = False, preact: bool = False
    ) -> Tensor | tuple[list[Tensor], Tensor]:
        """x (B, 3, H, W) -> logits (B, K), or (features, logits)."""
        pools_block3 = x.size(2) == 64
        features = []
        for block, pool in self._blocks_and_pools():
            before_relu = block(x)
            x = F.relu(before_relu, inplace=not preact)
            features.append(before_relu if preact and block is not self.block0 else x)
            if pool is not self.pool3 or pools_block3:
                x = pool(x)
        vector = x.flatten(1)  # (B, 512)
        features.append(vector)
        if self.embed is not None:
            vector = F.normalize(self.embed(vector))  # (B, neurons), of length 1
        logits = self.classifier(vector)
        return (features, logits) if is_feat else logits


for _name, _convs in {
    "vgg8": (1, 1, 1, 1, 1),
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}.items():
    model_dict.register(_name, partial(VGG, _convs))
    if _name in ("vgg8", "vgg13"):
        model_dict.register(f"{_name}_3neurons", partial(VGG, _convs, neurons=3))
