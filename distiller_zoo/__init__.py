"""Distillation methods: `distillers[name](setting, **keys)`.

To add one: a file with a pure loss function and a registered class, an import below, a test.
"""

from distiller_zoo import (  # noqa: F401  (to be registered, in the order of --list)
    kd,
    hint,
    attention,
    similarity,
    correlation,
    vid,
    crd,
    kdsvd,
    fsp,
    rkd,
    pkt,
    abound,
    factor,
    nst,
    dkd,
    dist,
    nkd,
    ttm,
    mlkd,
    ls,
    wsld,
    review,
    simkd,
    srrl,
)
from distiller_zoo.base import (
    Batch,
    Distiller,
    FeatureDistiller,
    LogitDistiller,
    Outputs,
    Setting,
    Target,
)
from distiller_zoo.registry import distillers, parse_methods

__all__ = [
    "Batch",
    "Distiller",
    "FeatureDistiller",
    "LogitDistiller",
    "Outputs",
    "Setting",
    "Target",
    "distillers",
    "parse_methods",
]
