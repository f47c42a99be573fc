import pytest
from fake_gpu import fake_gpu


@pytest.fixture
def gpu():
    """What the pretended GPU has to do while the test runs."""
    with fake_gpu() as seen:
        yield seen
