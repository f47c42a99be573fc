"""Distillation methods: `distillers[name]`.

To add one: a file with a pure loss function and a registered class, an import below, a test.
"""

from distiller_zoo.kd import KD, kd_loss
from distiller_zoo.registry import distillers

__all__ = ["KD", "distillers", "kd_loss"]
