"""What the tests on a real GPU share. Without one they are skipped."""

from pathlib import Path

import pytest
import torch
from gpu_loops import write_network

DEVICE = "cuda"
ON_REAL_GPU = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.usefixtures("real_gpu", "empty_folder"),
    pytest.mark.timeout(120),
]


def differences(there, here, *, relative, absolute=1e-4):
    """name -> (value there, value here), of the names whose values differ by more."""
    assert there.keys() == here.keys()
    return {
        name: (there[name], here[name])
        for name in here
        if there[name] != pytest.approx(here[name], rel=relative, abs=absolute)
    }


def write_sharp_network(name="resnet14"):
    """A checkpoint of a network that is sure of what it says: its last layer's weights are
    large."""
    path = write_network(Path(), name).resolve()
    weights = torch.load(path, weights_only=True)
    list(weights["model"].values())[-2].mul_(20)
    torch.save(weights, path)
    return path
