"""BatchNorm's counters of batches, which count for nothing here but have an operation each."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def keep_on_cpu(network: nn.Module) -> None:
    """Move each `num_batches_tracked` to the CPU, where counting launches nothing on a GPU.

    Checkpoints are the same. Not for a network in DistributedDataParallel, or compiled: these want
    all buffers on one device.
    """
    for layer in network.modules():
        if isinstance(layer, _BatchNorm) and layer.num_batches_tracked is not None:
            layer.num_batches_tracked = layer.num_batches_tracked.cpu()
