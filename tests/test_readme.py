"""The README's examples of extending the system work as printed."""

import re
from pathlib import Path

import pytest
import torch

from augment import MixSettings, build
from dataset.synthetic import synthetic_spec
from distiller_zoo import Setting, distillers
from helper.cli.plugins import KINDS

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def examples(monkeypatch):
    """All examples registered, and forgotten afterwards."""
    for registry, _ in KINDS.values():
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    for code in EXAMPLES:
        exec(code, {})


def test_mix_mode():
    images = torch.randn(6, 3, 16, 16)
    for draw in ("batch", "sample"):
        fog = build("fog:most=0.8", synthetic_spec(5, 16), MixSettings(draw=draw))
        view = fog(images, torch.Generator().manual_seed(0)).images
        shares = {round(float(share), 4) for share in (view / images).mean(dim=(1, 2, 3))}
        assert min(shares) >= 0.2 and max(shares) <= 1
        assert len(shares) == (1 if draw == "batch" else 6)


def test_distiller():
    student, teacher = (
        torch.randn(4, 10, dtype=torch.float64),
        torch.zeros(4, 10, dtype=torch.float64),
    )
    assert float(distillers["mse"](Setting())(student, teacher, None)) == pytest.approx(
        float((student**2).mean())
    )
