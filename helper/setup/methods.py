"""From `--distill A+B -a W -b W` to distillers and their weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from distiller_zoo import (
    Distiller,
    FeatureDistiller,
    LogitDistiller,
    Outputs,
    Setting,
    distillers,
    parse_methods,
)
from helper.cli.methods import as_list, logit_and_feature_names
from helper.errors import UserError
from helper.registry import Value, spell
from helper.setup.scene import Scene
from helper.step.networks import feature_shapes
from helper.step.distill import LossWeights, loss_weights
from models.external import Offers

SETTING_OPTIONS = ("kd_S", "kd_T", "hint_layer", "feat_dim", "mode", "nce_k", "nce_t", "nce_m")
"""Options that `Setting` hands to the distillers as they are."""


@dataclass
class Methods:
    """The distillers of a run."""

    logit: dict[str, LogitDistiller]
    feature: dict[str, FeatureDistiller]
    gamma: float
    alpha: dict[str, float]
    beta: dict[str, float]
    """The weights of the labels' cross-entropy, of each logit and of each feature distiller."""
    lw_mix: tuple[float, float, float] | None

    @property
    def weights(self) -> LossWeights:
        return loss_weights(self.gamma, self.alpha, self.beta, lw_mix=self.lw_mix)

    @property
    def modules(self) -> nn.ModuleDict:
        """All of them: what the optimizer and the checkpoint see."""
        return nn.ModuleDict({**self.logit, **self.feature})

    @property
    def in_main_stage(self) -> dict[str, FeatureDistiller]:
        """The methods that add to the loss after the initial stage."""
        return {
            name: method
            for name, method in self.feature.items()
            if method.in_main_stage and self.beta[name]
        }

    @property
    def with_initial_stage(self) -> dict[str, FeatureDistiller]:
        return {name: method for name, method in self.feature.items() if method.has_initial_stage}

    @property
    def preacts(self) -> tuple[bool, ...]:
        """Which features of the student the main stage reads."""
        return tuple(sorted({method.preact for method in self.in_main_stage.values()}))

    @property
    def teacher_preacts(self) -> tuple[bool, ...]:
        """Which features of the teacher it reads."""
        return tuple(sorted({method.teacher_preact for method in self.in_main_stage.values()}))

    @property
    def head(self) -> FeatureDistiller | None:
        """The distiller that replaces the student's classifier, if one does."""
        heads = [method for method in self.feature.values() if method.changes_head]
        return heads[0] if heads else None

    def deployed(self, student: nn.Module) -> nn.Module:
        """The network that gives the student's logits: itself, or with a distiller's head."""
        return student if self.head is None else WithHead(student, self.head)

    def describe(self) -> list[str]:
        """One line for each: the weight and all keys as --distill takes them, and what else is
        known of it."""
        lines = []
        for name, method in (self.logit | self.feature).items():
            weight = (self.alpha | self.beta)[name]
            keys = ",".join(filter(None, [f"weight={spell(weight)}", method.spell()]))
            stage = "" if getattr(method, "in_main_stage", True) else "in the initial stage alone"
            parts = [f"method {name}:{keys}", stage, method.describe()]
            lines.append(", ".join(filter(None, parts)))
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


def make_methods(scene: Scene) -> Methods:
    """The distillers of --distill with their weights; settings that the command line leaves open
    are the published ones.

    The scene's generator "methods" gives the initial weights, and draws for the distillers while
    training. UserError where a distiller cannot work for this pair of networks.
    """
    options, spec, generator = scene.options, scene.spec, scene.generators["methods"]
    logit_names, feature_names = logit_and_feature_names(options)
    given = parse_methods(options.distill)
    teacher, student = scene.teacher.network, scene.student
    setting = Setting(
        student_shapes=shapes_for(feature_names, "student", student, spec.img_size),
        teacher_shapes=shapes_for(feature_names, "teacher", teacher, spec.img_size),
        num_classes=spec.num_classes,
        train_labels=scene.splits.train.served_labels.cpu(),
        pair=scene.pair,
        dataset=spec.name,
        teacher_classifier=classifier_of(teacher),
        generator=generator,
        **{name: getattr(options, name) for name in SETTING_OPTIONS},
    )
    # PyTorch's layers draw their weights from the global generator: it is seeded within, and put
    # back after.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        built = {
            name: (
                distillers[name](setting, **given.get(name, {}))
                .to(scene.device)
                .to(memory_format=torch.channels_last)
            )
            for name in logit_names + feature_names
        }
    gamma = options.gamma
    if gamma is None:
        gamma = min((method.default_gamma for method in built.values()), default=1.0)
    return Methods(
        logit={name: m for name, m in built.items() if isinstance(m, LogitDistiller)},
        feature={name: m for name, m in built.items() if isinstance(m, FeatureDistiller)},
        gamma=gamma,
        alpha=weights_for(logit_names, built, given, as_list(options.alpha)),
        beta=weights_for(feature_names, built, given, as_list(options.beta)),
        lw_mix=options.lw_mix,
    )


def shapes_for(
    methods: Sequence[str], role: str, network: nn.Module, img_size: int
) -> Sequence[torch.Size]:
    """The shapes of the features that these methods read; () if there are none of them.

    UserError if the network, of another library, does not offer them.
    """
    if not methods:
        return ()
    if isinstance(network, Offers):
        why = network.why_no_maps()
        which = "preact" if role == "student" else "teacher_preact"
        needs_preact = [name for name in methods if getattr(distillers[name], which)]
        if needs_preact:
            why, methods = "it offers no maps before its ReLUs", needs_preact
        if why:
            raise UserError(
                f"--distill {methods[0]} compares maps with {network.source.name}, the {role}:"
                f" {why}"
            )
    shapes = feature_shapes(network, img_size)
    if len(shapes) < 3:
        raise UserError(
            f"--distill {methods[0]} compares maps of several stages; the {role} offers one"
        )
    return shapes


def classifier_of(network: nn.Module) -> nn.Linear | None:
    """Its last linear layer; None if it has none."""
    if isinstance(network, Offers):
        return network.classifier_layer()
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else None


def weights_for(
    names: Sequence[str],
    built: Mapping[str, Distiller],
    given: Mapping[str, Mapping[str, Value]],
    flag: Sequence[float],
) -> dict[str, float]:
    """Each distiller's weight: its own key's, else the flag's (in the order of the others), else
    the published."""
    without_key = [name for name in names if "weight" not in given.get(name, {})]
    weights = {name: float(built[name].loss_weight) for name in names}
    return weights | dict(zip(without_key, flag))
