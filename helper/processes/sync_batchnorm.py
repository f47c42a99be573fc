"""BatchNorm whose statistics are those of the whole batch, though each process sees a part of it.

PyTorch has one for GPUs; this one runs on CPUs as well, in any precision, and takes two sums a
layer.
"""

from typing import Any

import torch
from torch import nn

from helper.processes import distributed


class _Sum(torch.autograd.Function):
    """Over the processes. Each adds to what the others see, so the gradient is their sum too."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return distributed.summed(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return distributed.summed(gradient)


class SyncBatchNorm2d(nn.BatchNorm2d, distributed.Divisible):
    """As BatchNorm2d, over the images (B, C, H, W) of all processes; their numbers may differ."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.is_divided or distributed.size() == 1:
            return super().forward(images)
        wide = images.float() if images.dtype in (torch.bfloat16, torch.float16) else images
        axes = (0, 2, 3)
        own_count = wide.new_full((1,), wide.numel() / self.num_features)
        total = _Sum.apply(torch.cat([wide.sum(axes), own_count]))  # (C + 1,)
        count = total[-1]
        mean = total[:-1] / count  # (C,)
        centred = wide - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum(axes)) / count  # (C,)
        if self.track_running_stats:
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None and self.momentum is not None
            with torch.no_grad():  # through .data: another view's backward pass need not see it
                self.num_batches_tracked += 1
                self.running_mean.data.lerp_(mean, self.momentum)
                self.running_var.data.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(images.dtype)


def share_batchnorm(network: nn.Module) -> nn.Module:
    """Replace every BatchNorm2d in place, parameters and statistics kept."""
    for name, child in network.named_children():
        if type(child) is nn.BatchNorm2d:
            shared = SyncBatchNorm2d(child.num_features, child.eps, child.momentum)
            shared.weight, shared.bias = child.weight, child.bias
            shared.running_mean, shared.running_var = child.running_mean, child.running_var
            shared.num_batches_tracked = child.num_batches_tracked
            setattr(network, name, shared.train(child.training))
        else:
            share_batchnorm(child)
    return network
