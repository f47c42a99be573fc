"""Networks of timm and torchvision: `timm.NAME:key=value,...`, `torchvision.NAME`.

    timm.resnet50.a1_in1k  torchvision.resnet18  timm.resnet18:stem=small
    timm.vit_tiny_patch16_224:patch_size=4

`stem=small`, for images of 32 or 64 pixels: the first convolution does not halve the image, nor
does the pooling after it. Any other key goes to the library's own constructor. Classes and image
size are the data set's.

Maps are those that timm's `forward_intermediates` gives; of a torchvision network, the last one of
each size. The first of them stands in the stem's place. There are none before a ReLU. A network's
dropout and stochastic depth are off: all random draws of a run come from its own generators.

It does not offer a distillation token (DeiT, LeViT: Touvron et al., ICML 2021, arXiv 2012.12877):
that is a target of its own, for a second classifier.
"""

import contextlib
import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import nn

from helper.errors import UserError
from models.hub import cache_alone_if_unreachable
from models.external_changes import keys_in, make_stem_small, one_line, switch_off_random_layers

LIBRARIES = ("timm", "torchvision")
HUB = "hub"
"""In place of a file of weights: the library's own, downloaded."""
TORCHVISION_ALWAYS = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
"""Without what gives a second output in training."""


def is_external(name: str) -> bool:
    """True if a model's name is that of a library's network, known or not."""
    return name.partition(".")[0] in LIBRARIES and "." in name


@dataclass(frozen=True)
class External:
    """A network by name. Called as every entry of `model_dict` is."""

    name: str
    library: str
    architecture: str
    keys: dict[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def named(cls, name: str) -> "External":
        """UserError if the library is not installed, or has no such network."""
        full, _, text = name.partition(":")
        library, _, architecture = full.partition(".")
        names = names_in(library)
        known = architecture.partition(".")[0] if library == "timm" else architecture
        if known not in names:
            nearest = difflib.get_close_matches(known, names, n=5, cutoff=0.4)
            hint = f" The nearest ones: {', '.join(nearest)}" if nearest else ""
            raise UserError(f"{library} has no network {architecture!r}.{hint}")
        return cls(name, library, architecture, keys_in(name, text))

    def __call__(self, *, num_classes: int = 100, img_size: int = 32) -> nn.Module:
        """The network in training mode.

        UserError if it cannot be built so, or does not take such images.
        """

        def build() -> nn.Module:
            size = f"{img_size}x{img_size} pixels"
            with one_line(f"{self.name} cannot be built for {num_classes} classes, {size}"):
                return self.build(num_classes, img_size)

        network = build()
        base = type(network)
        network.__class__ = type(base.__name__, (Offers, base), {"__module__": base.__module__})
        assert isinstance(network, Offers)
        network.source, network.build_anew = self, build
        network.check(num_classes, img_size)
        return network

    def build(self, num_classes: int, img_size: int, **more: Any) -> nn.Module:
        """more: keys for the library's constructor. Raises whatever that raises."""
        keys = {key: value for key, value in self.keys.items() if key != "stem"} | more
        build = build_timm if self.library == "timm" else build_torchvision
        network = build(self.architecture, keys, num_classes, img_size)
        switch_off_random_layers(network)
        if self.keys.get("stem") == "small":
            make_stem_small(network, self.name)
        return network

    def hub_weights(self, img_size: int) -> dict[str, torch.Tensor]:
        """The library's own weights, downloaded; their classes are those that it was trained on."""
        what = f"the weights of {self.name} cannot be had from their hub: give a file of them"
        with one_line(what):
            if self.library == "timm":
                classes = library("timm").get_pretrained_cfg(self.architecture).num_classes
                with cache_alone_if_unreachable():
                    return self.build(classes, img_size, pretrained=True).state_dict()
            weights = library("torchvision").get_model_weights(self.architecture).DEFAULT
            return dict(weights.get_state_dict(progress=False, check_hash=True))


class Offers(nn.Module):
    """A library's network with the interface of every network in `models`. Keys stay."""

    source: External
    build_anew: Callable[[], nn.Module]
    get_classifier: Callable[[], Any]
    forward_intermediates: Callable[..., Any]
    forward_head: Callable[..., torch.Tensor]
    """Only timm's networks have it."""

    def forward(
        self, images: torch.Tensor, is_feat: bool = False, preact: bool = False
    ) -> torch.Tensor | tuple[list[torch.Tensor], torch.Tensor]:
        if not is_feat:
            return super().forward(images)
        if preact:
            raise UserError(f"{self.source.name} offers no maps before its ReLUs")
        read: list[torch.Tensor] = []
        layer = self.classifier_layer()
        if layer is None:
            raise UserError(f"{self.source.name} offers no maps: it has no linear classifier")
        handle = layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        try:
            if self.source.library == "timm":
                last, maps = self.forward_intermediates(images)
                logits = self.forward_head(last)
            else:
                maps, logits = maps_by_size(self, super().forward, images)
        finally:
            handle.remove()
        return [*maps, read[0].flatten(1)], logits

    def why_no_maps(self) -> str:
        """Why methods that compare maps cannot have this network; empty if they can."""
        if self.source.library == "timm" and not hasattr(self, "forward_intermediates"):
            return "timm offers no intermediate maps of it"
        return "" if self.classifier_layer() is not None else "it has no linear classifier"

    def classifier_layer(self) -> nn.Linear | None:
        """The layer that reads the pooled vector."""
        if self.source.library == "timm":
            layer = self.get_classifier()
            return layer if isinstance(layer, nn.Linear) else None
        linear = [layer for layer in self.modules() if isinstance(layer, nn.Linear)]
        return linear[-1] if linear else None

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Initialise as the library does; its global draws are seeded from `generator`."""
        with contextlib.ExitStack() as stack:
            if generator is not None:
                stack.enter_context(torch.random.fork_rng(devices=[]))
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            self.load_state_dict(self.build_anew().state_dict())

    def get_feat_modules(self) -> nn.ModuleList:
        raise UserError(f"{self.source.name} does not say which of its layers give its maps")

    def get_bn_before_relu(self) -> list[nn.Module]:
        raise UserError(f"{self.source.name} offers no maps before its ReLUs")

    def adapted(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights of another image size or library version, in the form of this network.

        By the library's own rules: a transformer's table of positions is resampled.
        """
        if self.source.library != "timm":
            return weights
        rule = getattr(importlib.import_module(self.__module__), "checkpoint_filter_fn", None)
        if rule is None:
            return weights
        with one_line(f"these weights are not those of {self.source.name}"):
            return rule(dict(weights), self)

    def check(self, num_classes: int, img_size: int) -> None:
        """UserError unless it maps images of this size to logits."""
        if self.source.library == "timm" and isinstance(self.get_classifier(), tuple):
            raise UserError(
                f"{self.source.name} has a distillation token, whose second classifier has a target"
                " of its own; that is not offered: choose the network without it"
            )
        what = f"{self.source.name} does not take images of {img_size}x{img_size} pixels"
        image = torch.zeros(1, 3, img_size, img_size, device=next(self.parameters()).device)
        with torch.no_grad(), one_line(what):
            logits = self.eval()(image)
        self.train()
        if not torch.is_tensor(logits) or logits.shape != (1, num_classes):
            raise UserError(
                f"{self.source.name} is no classifier: it does not give logits, a number a class"
            )


def maps_by_size(
    network: nn.Module, forward: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """(the last map (B, C, H, W) of each size in the order of the layers, logits).

    Of torchvision's networks, whose stages are the children of `features`, or their own. Maps with
    the channels last are turned.
    """
    seen: dict[torch.Size, torch.Tensor] = {}
    channels_last = type(network).__name__ == "SwinTransformer"

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        if torch.is_tensor(output) and output.dim() == 4:
            output = output.permute(0, 3, 1, 2) if channels_last else output  # (B, C, H, W)
            seen.pop(output.shape[2:], None)
            seen[output.shape[2:]] = output

    stages = getattr(network, "features", network).children()
    handles = [
        stage.register_forward_hook(note)
        for stage in stages
        if not isinstance(stage, nn.AdaptiveAvgPool2d)
    ]
    try:
        logits = forward(images)
    finally:
        for handle in handles:
            handle.remove()
    return list(seen.values()), logits


def library(name: str) -> ModuleType:
    """timm or torchvision. UserError if it is not installed."""
    try:
        return importlib.import_module(f"{name}.models" if name == "torchvision" else name)
    except ImportError:
        raise UserError(f"networks of {name} take the package {name}: pip install {name}") from None


def names_in(name: str) -> list[str]:
    """The classifiers of a library."""
    module = library(name)
    return module.list_models() if name == "timm" else module.list_models(module=module)


def build_timm(name: str, keys: dict[str, Any], num_classes: int, img_size: int) -> nn.Module:
    timm = library("timm")
    if timm.get_pretrained_cfg(name).fixed_input_size:
        keys = {"img_size": img_size} | keys
    return timm.create_model(name, num_classes=num_classes, **keys)


def build_torchvision(
    name: str, keys: dict[str, Any], num_classes: int, img_size: int
) -> nn.Module:
    models = library("torchvision")
    sized = {"image_size": img_size} if name.startswith("vit_") else {}
    sized = {"input_size": (img_size, img_size)} if name.startswith("maxvit_") else sized
    given = TORCHVISION_ALWAYS.get(name, {}) | sized | keys
    return models.get_model(name, weights=None, num_classes=num_classes, **given)
