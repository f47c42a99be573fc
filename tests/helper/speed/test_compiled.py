"""--compile: the same losses; without a compiler, one line."""

import pytest
import torch
from command_line import TINY, log_lines, new_run
from torch import nn

import helper.speed.compiled
import helper.speed.frozen
from helper.speed.compiled import compile_networks
from helper.speed.frozen import frozen_copy
from helper.step.networks import freeze


def test_without_a_compiler_there_is_one_line(tmp_path, monkeypatch):
    """--compile then changes nothing else."""

    def broken(*args, **kwargs):
        raise RuntimeError("no C++ compiler\nwas found, nowhere")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "compile", broken)
    words = f"{TINY} --seed 1 --epochs 1 --model resnet8"
    compiled = new_run("train_teacher.py", words, "--compile")
    plain = new_run("train_teacher.py", words)
    warnings = [line for line in log_lines(compiled) if "compile" in line]
    assert warnings == ["warning: --compile has no effect: RuntimeError: no C++ compiler"]
    results = [
        [line for line in log_lines(path) if line.startswith("Acc1")] for path in (compiled, plain)
    ]
    assert results[0] == results[1]


@pytest.mark.slow
def test_compiled_networks(monkeypatch):
    """Both modes, a short batch, the same keys; the teacher's copy likewise."""
    if "warning" in helper.speed.compiled.compile_networks([], torch.device("cpu"))[0]:
        pytest.skip("no compiler here")

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

        def forward(self, x, is_feat=False, preact=False):
            return self.fc(self.bn(self.conv(x)).relu().mean(dim=(2, 3)))

    torch.manual_seed(0)
    plain, compiled = Small(), Small()
    compiled.load_state_dict(plain.state_dict())
    frozen = frozen_copy(freeze(Small()), 8)
    images = torch.randn(4, 3, 8, 8)
    expected = frozen(images)
    assert compile_networks([compiled, frozen, None], torch.device("cpu"))[0].startswith(
        "the networks are compiled"
    )
    assert torch.allclose(frozen(images), expected, atol=1e-6)
    assert expected.is_inference() is False and not frozen._pass(images).is_inference()
    for part in (images, images[:3]):
        for model in (plain, compiled):
            model.train()(part).sum().backward()
    for model in (plain, compiled):
        model.eval()
    assert torch.allclose(plain(images), compiled(images), atol=1e-6)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    assert torch.allclose(plain.conv.weight.grad, compiled.conv.weight.grad, atol=1e-5)
