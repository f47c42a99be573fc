"""Small things done to networks: calling them in the run's precision, freezing them, scoring with
them."""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from helper.processes import distributed


def logits_of(
    model: nn.Module, images: torch.Tensor, *, amp: bool = False, is_divided: bool = True
) -> torch.Tensor:
    """(B, 3, H, W) -> logits (B, K); with `amp` the network runs in bfloat16 autocast, the logits
    are float32.

    Of several processes each runs its part of the rows, unless `is_divided` is False, and all get
    all logits.
    """
    return outputs_of(model, images, (), amp=amp, is_divided=is_divided)[0]


Features = dict[bool, list[torch.Tensor]]
"""By `preact`: what model(images, is_feat=True, preact=preact) calls its features."""


def outputs_of(
    model: nn.Module,
    images: torch.Tensor,
    preacts: Sequence[bool],
    *,
    amp: bool = False,
    is_divided: bool = True,
) -> tuple[torch.Tensor, Features]:
    """(logits (B, K), the features for each of `preacts`); with `amp` the features may be bfloat16.

    Asked for both kinds of features, the network runs twice; only the first pass updates
    BatchNorm's statistics. Divided among processes like `logits_of`.
    """
    if is_divided and distributed.size() > 1:

        def run(rows: torch.Tensor) -> tuple[torch.Tensor, Features]:
            return outputs_of(model, rows, preacts, amp=amp, is_divided=False)

        return distributed.divided(run, images, model)
    features: Features = {}
    copies = is_overwritten(model, images)
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=amp):
        if not preacts:
            logits = model(images)
        else:
            maps, logits = model(images, is_feat=True, preact=preacts[0])
            features[preacts[0]] = [each.clone() for each in maps] if copies else list(maps)
        logits = logits.clone() if copies else logits
        for preact in preacts[1:]:
            with frozen_batchnorm_statistics(model):
                maps, _ = model(images, is_feat=True, preact=preact)
            features[preact] = [each.clone() for each in maps] if copies else list(maps)
    return (logits.float() if amp else logits), features


StudentPasses = Callable[..., list[tuple[torch.Tensor, Features]]]
"""(*views, each (P, 3, H, W)) -> (logits (P, K), features) of each, in passes of their own."""


def student_passes(
    student: nn.Module,
    preacts: Sequence[bool] = (),
    *,
    amp: bool = False,
    statistics_of: str = "both",
    both_views: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None = None,
) -> StudentPasses:
    """Each view has a pass of its own, for BatchNorm must see each alone; one autocast casts the
    weights once for all.

    statistics_of: the views, "both" or "first", that update BatchNorm's running statistics.
    both_views: (images, view, amp=) -> logits of both, where helper/speed has something sooner than
    two passes.
    """

    def passes(*views: torch.Tensor) -> list[tuple[torch.Tensor, Features]]:
        if both_views is not None and len(views) == 2:
            return [(logits, {}) for logits in both_views(*views, amp=amp)]
        with torch.autocast(views[0].device.type, dtype=torch.bfloat16, enabled=amp):
            first, *others = views
            results = [outputs_of(student, first, preacts, amp=amp)]
            with hold():
                results += [outputs_of(student, view, preacts, amp=amp) for view in others]
            return results

    hold = contextlib.nullcontext
    if statistics_of == "first":
        hold = functools.partial(frozen_batchnorm_statistics, student)
    return passes


def is_compiled(model: nn.Module) -> bool:
    """Whether `model.compile()` was called."""
    return model._compiled_call_impl is not None


def is_overwritten(model: nn.Module, images: torch.Tensor) -> bool:
    """Whether the next network's call may overwrite what this one returns: as a CUDA graph without
    a backward pass."""
    return images.is_cuda and is_compiled(model) and not torch.is_grad_enabled()


@torch.no_grad()
def feature_shapes(model: nn.Module, img_size: int, batch_size: int = 2) -> list[torch.Size]:
    """The shapes of the model's features for `batch_size` images; nothing is computed.

    The model itself is left as it is.
    """
    shapes_only = copy.deepcopy(model).to("meta").eval()
    for layer in shapes_only.modules():
        if isinstance(layer, _BatchNorm):  # keeps every shape, and takes most of the time here
            layer.forward = lambda input: input
    images = torch.empty(batch_size, 3, img_size, img_size, device="meta")
    return [feature.shape for feature in shapes_only(images, is_feat=True)[0]]


@contextlib.contextmanager
def frozen_batchnorm_statistics(model: nn.Module) -> Iterator[None]:
    """Within, a forward pass leaves BatchNorm's running statistics as they are.

    The model's mode stays: in training mode the batch's own statistics are used, but not
    remembered. So images that are scored and thrown away leave no trace in the network.
    """
    layers = [
        m
        for m in model.modules()
        if isinstance(m, _BatchNorm) and m.track_running_stats and m.training
    ]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def freeze(model: nn.Module) -> nn.Module:
    """The model in eval mode, its parameters without gradient."""
    return model.eval().requires_grad_(False)
