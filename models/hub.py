"""The Hugging Face Hub, which timm's weights come from, where it cannot be reached."""

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator

SECONDS = 10


@contextlib.contextmanager
def cache_alone_if_unreachable() -> Iterator[None]:
    """Where the Hub does not answer, its cache on this machine is read, or the error comes at once.

    Its own client tries each file six times, which takes a minute.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def answers(address: str) -> bool:
    """Whether a server answers there, whatever it says."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=SECONDS)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
