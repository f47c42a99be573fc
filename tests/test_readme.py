"""The README's examples of extending the system work as printed."""

import re
from pathlib import Path

import pytest
import torch

from augment import MixSettings, mix_modes
from dataset.synthetic import synthetic_spec
from distiller_zoo import Setting, distillers

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def examples():
    """Both examples registered, and forgotten afterwards."""
    for code in EXAMPLES:
        exec(code, {})
    yield
    for registry, name in ((mix_modes, "invert"), (distillers, "mse")):
        del registry._entries[name]


def test_mix_mode():
    images = torch.randn(6, 3, 16, 16)
    for draw in ("batch", "sample"):
        invert = mix_modes["invert"](synthetic_spec(5, 16), MixSettings(draw=draw))
        view = invert(images, torch.Generator().manual_seed(0)).images
        signs = {float(sign) for sign in (view / images).mean(dim=(1, 2, 3))}
        assert signs <= {1.0, -1.0} and len(signs) == (1 if draw == "batch" else 2)


def test_distiller():
    student, teacher = (
        torch.randn(4, 10, dtype=torch.float64),
        torch.zeros(4, 10, dtype=torch.float64),
    )
    assert float(distillers["mse"](Setting())(student, teacher, None)) == pytest.approx(
        float((student**2).mean())
    )
