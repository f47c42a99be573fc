"""CUDA graphs on a real GPU: the same numbers as without, to the bit. Without a GPU they are
skipped."""

import pytest
import torch
import torch.nn.functional as F
from real_gpu import DEVICE, ON_REAL_GPU

from helper import speed
from helper.setup.machine import select_device
from helper.speed import counters
from helper.speed.frozen import frozen_copy
from helper.speed.graphed_views import BothPasses, GraphedViews
from helper.step.networks import freeze
from models import build_model

pytestmark = ON_REAL_GPU
SIZES = (9, 16, 16, 16, 16, 9, 16, 16, 9, 16)
"""Images of the batches: graphs are made for 16; three are short."""


def trained(name, passes_of, *, amp):
    """The logits of each step, and the network's state after some."""
    select_device(DEVICE)
    generator = torch.Generator().manual_seed(0)
    network = build_model(name, num_classes=5, img_size=32, generator=generator)
    network = speed.place(network, torch.device(DEVICE), 32).train()
    counters.keep_on_cpu(network)
    passes, seen = passes_of(network), []
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, fused=True)
    for size in SIZES:
        images, view = (
            torch.randn(size, 3, 32, 32, generator=generator)
            .to(DEVICE, memory_format=torch.channels_last)
            for _ in range(2)
        )  # fmt: skip
        optimizer.zero_grad(set_to_none=True)
        logits = passes(images, view, amp=amp)
        labels = torch.arange(size, device=DEVICE) % 5
        (F.cross_entropy(logits[0], labels) + logits[1].square().mean()).backward()
        optimizer.step()
        seen.append(torch.cat(logits).detach())
        del logits
    return seen, network.state_dict(), passes


@pytest.mark.parametrize("statistics_of_both", [True, False])
@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8", "ShuffleV2", "MobileNetV2"])
def test_training_on_both_views(name, amp, statistics_of_both):
    def eager(network):
        def passes(images, view, *, amp):
            module = BothPasses(network, amp=amp, keeps_view_statistics=statistics_of_both)
            return module(images, view)

        return passes

    def graphed(network):
        assert GraphedViews.suits(network)
        return GraphedViews(network, 16, keeps_view_statistics=statistics_of_both)

    logits, state, _ = trained(name, eager, amp=amp)
    there, weights, views = trained(name, graphed, amp=amp)
    assert views.graphed is not None
    differ = [i for i, (one, other) in enumerate(zip(there, logits)) if not torch.equal(one, other)]
    assert not differ, f"steps {differ}"
    names = [key for key in state if not torch.equal(state[key].cpu(), weights[key].cpu())]
    assert not names


def test_a_run_on_a_gpu_has_them():
    select_device(DEVICE)
    student = build_model("resnet8", num_classes=5, img_size=32, generator=torch.Generator())
    student = speed.place(student, torch.device(DEVICE), 32)
    wanted = speed.Wanted(32, 64, amp=False, compiles=False, sees_both_views=True)
    assert isinstance(speed.prepare(None, student, wanted).both_views, GraphedViews)


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("name", ["resnet14", "wrn_16_2", "vgg8", "ShuffleV2"])
def test_a_graph_has_the_logits_of_the_pass(name, amp):
    """To the bit, for new images each time, and with a batch of another size in between."""
    device = select_device(DEVICE)
    generator = torch.Generator().manual_seed(0)
    network = freeze(build_model(name, num_classes=5, img_size=32, generator=generator))
    copy = frozen_copy(network.to(device), 32, amp=amp)
    kept = []
    for rows in (16, 16, 16, 16, 5, 16, 16):
        some = torch.randn(rows, 3, 32, 32, generator=generator).to(device)
        some = some.to(memory_format=torch.channels_last)
        with torch.no_grad():
            kept.append((copy(some), copy._pass(some).clone()))
    for logits, expected in kept:  # no call writes into the logits of an earlier one
        assert torch.equal(logits, expected)
    (recorded,) = copy.graphs.recorded.values()
    assert recorded is not None
