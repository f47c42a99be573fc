import pytest
import torch
from fake_gpu import fake_gpu


@pytest.fixture
def gpu():
    """The work of the pretended GPU while the test runs."""
    with fake_gpu() as seen:
        yield seen


@pytest.fixture
def real_gpu():
    """The machine's own. What a run sets for its whole process is put back afterwards."""
    torch.cuda.init()  # a pretended one may have told PyTorch's core that this was done
    cudnn, precision = torch.backends.cudnn, torch.get_float32_matmul_precision()
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32
    yield
    torch.cuda.set_sync_debug_mode("default")
    torch.set_float32_matmul_precision(precision)
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = before
