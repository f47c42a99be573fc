"""Where distillation methods are filed under their `--distill` names."""

from torch import nn

from helper.registry import Registry

distillers: Registry[type[nn.Module]] = Registry("distiller")
