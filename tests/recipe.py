"""The weights and inputs of the golden data: a pure function of each tensor's key and shape."""

import math
import zlib

import numpy as np
import torch
from torch import Tensor, nn


def recipe_state_dict(model: nn.Module, gain: float = 1.0) -> dict[str, Tensor]:
    """Values for every entry of `model.state_dict()`: computed in float64, rounded to float32.

    `gain` scales the tensors of two or more dimensions.
    """
    return {
        key: _recipe_tensor(key, tuple(tensor.shape), gain)
        for key, tensor in model.state_dict().items()
    }


def load_recipe(model: nn.Module, gain: float = 1.0) -> nn.Module:
    """Load the recipe into `model`, in place, and return it.

    For a float64 model call `.double()` on the result: the values stay the rounded ones.
    """
    model.load_state_dict(recipe_state_dict(model, gain))
    return model


def recipe_images(img_size: int, batch: int = 4) -> Tensor:
    """The images (B, 3, S, S), float32, that the golden models saw."""
    noise = np.random.RandomState(1234).standard_normal((batch, 3, img_size, img_size))
    return torch.from_numpy(noise.astype(np.float32))


def _recipe_tensor(key: str, shape: tuple[int, ...], gain: float) -> Tensor:
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.zeros((), dtype=torch.int64)
    z = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    if leaf in ("running_mean", "bias"):
        values = 0.1 * z
    elif leaf == "running_var":
        values = 1 + 0.1 * np.abs(z)
    elif len(shape) >= 2:
        values = z * math.sqrt(2 / math.prod(shape[1:])) * gain
    else:
        assert leaf == "weight", key
        values = 1 + 0.1 * z
    return torch.from_numpy(values.astype(np.float32))
