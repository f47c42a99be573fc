"""ImageNet's 1,000 classes by wnid, in the order in which networks have them: sorted."""

import functools
from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).with_name("imagenet_wnids.txt")


@functools.cache
def wnids() -> dict[str, int]:
    """Wnid -> class, 0..999."""
    return {wnid: row for row, wnid in enumerate(FILE.read_text().split())}


def rows_of_imagenet(class_ids: Sequence[str]) -> list[int]:
    """The classes of a network for all of ImageNet that are `class_ids`.

    Empty if one of them is none of ImageNet's.
    """
    known = wnids()
    return [known[each] for each in class_ids] if all(each in known for each in class_ids) else []
