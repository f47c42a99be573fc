import pytest
from fake_gpu import fake_gpu


@pytest.fixture
def gpu():
    """The work of the pretended GPU while the test runs."""
    with fake_gpu() as seen:
        yield seen
