"""Weights for tests of files."""

import pytest


@pytest.fixture(scope="module")
def weights():
    from small_networks import new_model

    return dict(new_model().state_dict())
