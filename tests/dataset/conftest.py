"""A tiny copy of Tiny ImageNet, and copies of it to change."""

import pytest
from fake_images import copy_with_links, write_tiny_imagenet


@pytest.fixture(scope="session")
def tiny_imagenet(tmp_path_factory):
    return write_tiny_imagenet(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(tmp_path, tiny_imagenet):
    """A copy to change."""
    (tmp_path / "data").mkdir()
    return copy_with_links(tiny_imagenet, tmp_path / "data" / "tiny-imagenet-200")
