"""From `--distill A+B -a W -b W` to distillers and their weights."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dataset import DatasetSpec
from distiller_zoo import (
    Distiller,
    FeatureDistiller,
    LogitDistiller,
    Outputs,
    Setting,
    distillers,
    parse_methods,
)
from helper.errors import UserError
from helper.registry import Value, spell
from helper.step.distill import LossWeights
from helper.step.networks import feature_shapes

OF_SETTING = ("kd_S", "kd_T", "hint_layer", "feat_dim", "mode", "nce_k", "nce_t", "nce_m")
"""Options that `Setting` hands to the distillers as they are."""


def logit_and_feature_names(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The names in --distill by kind. With an --alpha but no logit distiller, kd is one, as in CRD's commands."""
    names = list(parse_methods(options.distill))
    feature = [name for name in names if issubclass(distillers[name], FeatureDistiller)]
    logit = [name for name in names if name not in feature]
    if not logit and options.alpha is not None and any(as_list(options.alpha)):
        logit = ["kd"]
    return logit, feature


def as_list(weights: float | Sequence[float] | None) -> list[float]:
    if weights is None:
        return []
    return [weights] if isinstance(weights, (int, float)) else list(weights)


def check_methods(options: argparse.Namespace) -> None:
    """UserError unless the weights go with the distillers."""
    logit, feature = logit_and_feature_names(options)
    given = parse_methods(options.distill)
    for flag, weights, all_names in (
        ("--alpha", as_list(options.alpha), logit),
        ("--beta", as_list(options.beta), feature),
    ):
        names = [name for name in all_names if "weight" not in given.get(name, {})]
        if weights and all_names and not names:
            raise UserError(
                f"{flag} and --distill {options.distill} both give the weight of "
                f"{', '.join(all_names)}: give one"
            )
        if len(weights) > 1 and len(weights) != len(names):
            raise UserError(
                f"{flag} has {len(weights)} weights, --distill {options.distill} takes {len(names)}"
                + (f": for {', '.join(names)}" if names else "")
            )
        if len(weights) == 1 and len(names) > 1:
            raise UserError(
                f"{flag} {weights[0]:g} is one weight for {', '.join(names)}: give {len(names)}, as W,W"
            )


@dataclass
class Methods:
    """The distillers of a run."""

    logit: dict[str, LogitDistiller]
    feature: dict[str, FeatureDistiller]
    weights: LossWeights

    @property
    def modules(self) -> nn.ModuleDict:
        """All of them: what the optimizer and the checkpoint see."""
        return nn.ModuleDict({**self.logit, **self.feature})

    @property
    def in_main_stage(self) -> dict[str, FeatureDistiller]:
        """What adds to the loss after the initial stage."""
        return {
            name: method
            for name, method in self.feature.items()
            if method.in_main_stage and self.weights.feature[name]
        }

    @property
    def with_initial_stage(self) -> dict[str, FeatureDistiller]:
        return {name: method for name, method in self.feature.items() if method.has_initial_stage}

    @property
    def preacts(self) -> list[bool]:
        """Which features of the student the main stage reads."""
        return sorted({method.preact for method in self.in_main_stage.values()})

    @property
    def teacher_preacts(self) -> list[bool]:
        """Which features of the teacher it reads."""
        return sorted({method.teacher_preact for method in self.in_main_stage.values()})

    @property
    def head(self) -> FeatureDistiller | None:
        """The distiller that replaces the student's classifier, if one does."""
        heads = [method for method in self.feature.values() if method.changes_head]
        return heads[0] if heads else None

    def deployed(self, student: nn.Module) -> nn.Module:
        """What gives the student's logits: itself, or with a distiller's head."""
        return student if self.head is None else WithHead(student, self.head)

    def describe(self) -> list[str]:
        """One line for each: the weight and all keys as --distill takes them, and what else is known of it."""
        lines = []
        for name, method in (self.logit | self.feature).items():
            weight = (self.weights.logit | self.weights.feature)[name]
            keys = ",".join(filter(None, [f"weight={spell(weight)}", method.spell()]))
            stage = "" if getattr(method, "in_main_stage", True) else "in the initial stage alone"
            lines.append(
                ", ".join(filter(None, [f"method {name}:{keys}", stage, method.describe()]))
            )
        return lines


class WithHead(nn.Module):
    """A student whose classifier is replaced by a distiller's: what is evaluated in its place."""

    def __init__(self, student: nn.Module, head: FeatureDistiller) -> None:
        super().__init__()
        self.student, self.head = student, head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> logits (B, K)."""
        features, logits = self.student(images, is_feat=True, preact=self.head.preact)
        return self.head.replace_head(Outputs(logits, features)).logits


def make_methods(
    options: argparse.Namespace,
    *,
    teacher: nn.Module,
    student: nn.Module,
    pair: str,
    spec: DatasetSpec,
    train_labels: torch.Tensor,
    device: torch.device,
    generator: torch.Generator,
) -> Methods:
    """The distillers of --distill with their weights; what the command line leaves open is as published.

    pair: "teacher/student", the networks' names. train_labels: (N,). The generator, on the CPU, gives the initial
    weights, and draws for the distillers while training. UserError where a distiller cannot work for this pair.
    """
    logit_names, feature_names = logit_and_feature_names(options)
    given = parse_methods(options.distill)
    setting = Setting(
        student_shapes=feature_shapes(student, spec.img_size) if feature_names else (),
        teacher_shapes=feature_shapes(teacher, spec.img_size) if feature_names else (),
        num_classes=spec.num_classes,
        train_labels=train_labels.cpu(),
        dataset=spec.name,
        pair=pair,
        teacher_classifier=[
            module for module in teacher.modules() if isinstance(module, nn.Linear)
        ][-1],
        generator=generator,
        **{name: getattr(options, name) for name in OF_SETTING},
    )
    # PyTorch's layers draw their weights from the global generator: seeded from ours within, and put back after.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        built = {
            name: distillers[name](setting, **given.get(name, {})).to(
                device=device, memory_format=torch.channels_last
            )
            for name in logit_names + feature_names
        }
    gamma = options.gamma
    if gamma is None:
        gamma = min((method.default_gamma for method in built.values()), default=1.0)
    return Methods(
        logit={name: built[name] for name in logit_names},
        feature={name: built[name] for name in feature_names},
        weights=LossWeights(
            gamma,
            weights_for(logit_names, built, given, as_list(options.alpha)),
            weights_for(feature_names, built, given, as_list(options.beta)),
            options.lw_mix,
        ),
    )


def weights_for(
    names: Sequence[str],
    built: Mapping[str, Distiller],
    given: Mapping[str, Mapping[str, Value]],
    flag: Sequence[float],
) -> dict[str, float]:
    """Each distiller's weight: its own key's, else the flag's (in the order of the others), else the published."""
    without_key = [name for name in names if "weight" not in given.get(name, {})]
    return {name: built[name].loss_weight for name in names} | dict(zip(without_key, flag))
