"""The registry of models.

It is apart from `models/__init__` so that the family files can import it.
"""

from collections.abc import Callable

from torch import nn

from helper.errors import UserError, unknown_name
from helper.registry import Registry
from models.external import External, is_external


class ModelRegistry(Registry[Callable[..., nn.Module]]):
    """The zoo's models by name. Networks of timm and torchvision are found, but not listed."""

    def __getitem__(self, name: str) -> Callable[..., nn.Module]:
        """UserError, with the nearest name, if there is none, or its library is not installed."""
        if name in self._entries:
            return self._entries[name]
        if is_external(name):
            return External.named(name)
        raise unknown_name(self.kind, name, [*self, "timm.NAME", "torchvision.NAME"])

    def __contains__(self, name: object) -> bool:
        try:
            self[str(name)]
        except UserError:
            return False
        return True


model_dict = ModelRegistry("model")
"""Name -> `factory(*, num_classes=100, img_size=32)`; `models` says what it returns."""
