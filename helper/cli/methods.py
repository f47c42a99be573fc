"""The rules between --distill and its weights, --alpha and --beta."""

import argparse
from collections.abc import Sequence

from distiller_zoo import FeatureDistiller, distillers, parse_methods
from helper.errors import UserError


def logit_and_feature_names(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The names in --distill by kind.

    With an --alpha but no logit distiller, kd is one, as in CRD's commands.
    """
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
                f"{flag} {weights[0]:g} is one weight for {', '.join(names)}: give {len(names)},"
                " as W,W"
            )
