"""Where models are filed; apart from `models/__init__` so that the family files can import it."""

from collections.abc import Callable

from torch import nn

from helper.registry import Registry

model_dict: Registry[Callable[..., nn.Module]] = Registry("model")
"""Name -> `factory(*, num_classes=100, img_size=32)`; `models` says what it returns."""
