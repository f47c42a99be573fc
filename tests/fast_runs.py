"""A fixture that makes many tiny runs in one process fast."""

import functools

import pytest

from dataset import synthetic
from helper.setup import plan


@pytest.fixture(scope="module", autouse=True)
def draw_once():
    """For speed: the same tiny images, and the same networks' FLOPs, are asked for in each of some
    80 runs."""
    images, flops = functools.cache(synthetic.synthetic_images), {}

    def count(model, img_size, real=plan.count_flops):
        key = type(model), plan.count_parameters(model), img_size
        return flops[key] if key in flops else flops.setdefault(key, real(model, img_size))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "synthetic_images", images)
        patch.setattr(plan, "count_flops", count)
        yield
