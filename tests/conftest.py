"""The common part of all tests: one thread for each process, an order, a tiny teacher.

More threads would only get into each other's way, and a fork would wait forever for those that its
parent had. So this stands before anything imports PyTorch.
"""

import functools
import os
import urllib.error
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"

LONGEST = (
    "test_readme_runs", "test_resume", "test_rank_augmentations", "test_distributed",
    "test_models", "test_methods", "test_gpu_paths", "test_speed", "test_divided_steps",
    "test_both_views", "test_cli", "test_errors", "test_sweep", "test_benchmark",
)  # fmt: skip
"""Files that take longest, with most time first."""


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process is left alone with one at the end."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """The working directory of a test."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_network(monkeypatch):
    """Downloads fail."""
    import torch

    def no_route(url, *arguments, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_route)


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory) -> Path:
    """Weights of a resnet14, trained for an epoch on the tiny data of `command_line.TINY`."""
    from command_line import TINY, run

    root = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run("train_teacher.py", TINY, "--model resnet14 --epochs 1 --learning_rate 0.01 --seed 3")
    return root / "save" / "models" / "resnet14_vanilla" / "ckpt_epoch_1.pth"


@pytest.fixture(scope="session")
def paper_teacher(tmp_path_factory):
    """(weights of a teacher of two epochs, the run folder that it was trained in)."""
    from paper_runs import train_teacher

    return train_teacher(tmp_path_factory.mktemp("paper_teacher"))


@pytest.fixture(scope="session")
def trained(paper_teacher, tmp_path_factory):
    """The run folder of a student trained for 4 epochs, under cutmix, without interruption."""
    from paper_runs import SCHEMES, train_uninterrupted

    return train_uninterrupted(tmp_path_factory.mktemp("trained"), paper_teacher, SCHEMES["cutmix"])


@pytest.fixture(scope="session", autouse=True)
def work_once():
    """For speed: runs ask for the same images, and for the same networks' FLOPs and shapes."""
    from dataset import synthetic
    from helper.setup import methods, plan
    from models.external import Offers

    def once_a_network(real):
        known = {}

        def of(model, *sizes):
            if isinstance(model, Offers):  # its layers are another library's
                return real(model, *sizes)
            key = type(model), plan.count_parameters(model), sizes
            return known[key] if key in known else known.setdefault(key, real(model, *sizes))

        return of

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "synthetic_images", functools.cache(synthetic.synthetic_images))
        patch.setattr(plan, "count_flops", once_a_network(plan.count_flops))
        patch.setattr(methods, "feature_shapes", once_a_network(methods.feature_shapes))
        yield
