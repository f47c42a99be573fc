"""Where distillation methods are filed under their `--distill` names."""

from distiller_zoo.base import Distiller
from helper.registry import Registry

distillers: Registry[type[Distiller]] = Registry("distiller")
