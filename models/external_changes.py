"""Changes to a library's network: its keys, a small stem, no random layers."""

import ast
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from helper.errors import UserError

RANDOM_LAYERS = ("DropPath", "StochasticDepth", "DropBlock2d", "PatchDropout")
RANDOM_SHARES = ("p", "drop_prob", "drop_rate", "prob")


def keys_in(name: str, text: str) -> dict[str, Any]:
    """ "stem=small,patch_size=4" -> {"stem": "small", "patch_size": 4}.

    UserError for what is no key=value.
    """
    keys = {}
    for part in text.split(",") if text else ():
        key, equals, value = part.partition("=")
        if not key.isidentifier() or not equals or not value:
            raise UserError(f"{name}: {part!r} is not key=value, such as stem=small")
        try:
            keys[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            keys[key] = value
    if keys.get("stem", "small") != "small":
        raise UserError(f"{name}: stem={keys['stem']} is unknown. Choices: small")
    for key in ("num_classes", "img_size", "pretrained", "weights", "checkpoint_path"):
        if key in keys:
            raise UserError(
                f"{name}: {key} cannot be given here: the data set, or a file of weights, says it"
            )
    return keys


def make_stem_small(network: nn.Module, name: str) -> None:
    """Change the stem: the image keeps its size, a large kernel is 3x3, without pooling."""
    path, first = next(
        ((p, m) for p, m in network.named_modules() if isinstance(m, nn.Conv2d)), ("", None)
    )
    if first is None or first.stride != (2, 2) or type(first) is not nn.Conv2d:
        raise UserError(
            f"{name}: stem=small is for networks whose first layer is a convolution of stride 2; of"
            " a transformer give a smaller patch_size"
        )
    small = nn.Conv2d(
        first.in_channels, first.out_channels, 3, padding=1, bias=first.bias is not None
    )
    nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
    parent, _, last = path.rpartition(".")
    setattr(network.get_submodule(parent), last, small)
    if hasattr(network, "maxpool"):
        network.maxpool = nn.Identity()


def switch_off_random_layers(network: nn.Module) -> None:
    """Switch off dropout and stochastic depth: they draw from the global generator, never saved."""
    for layer in network.modules():
        if isinstance(layer, _DropoutNd) or type(layer).__name__ in RANDOM_LAYERS:
            set_shares(layer, RANDOM_SHARES)
        else:
            set_shares(layer, ("drop_rate", "dropout", "attn_drop_rate"))


def set_shares(layer: nn.Module, names: Sequence[str]) -> None:
    for name in names:
        if isinstance(getattr(layer, name, None), float):
            setattr(layer, name, 0.0)


@contextlib.contextmanager
def one_line(what: str) -> Iterator[None]:
    """Whatever a library raises becomes a UserError: what failed, and the first line of why."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a library's constructor may raise anything
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else "no reason given"
        raise UserError(f"{what} ({type(error).__name__}: {reason})") from None
