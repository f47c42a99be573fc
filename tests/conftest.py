"""Before anything imports PyTorch: a thread for each process of the tests.

More would only get into each other's way, and a fork would wait forever for those that its parent
had.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

LONGEST = (
    "test_rank_augmentations", "test_models", "test_resume", "test_methods", "test_distributed",
    "test_divided_steps", "test_cli", "test_sweep", "test_both_views",
)  # fmt: skip
"""Files that take longest, with most time first."""


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process is left alone with one at the end."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))
