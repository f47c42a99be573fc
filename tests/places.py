"""Where the tests find files."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
GOLDEN = TESTS / "golden"
"""What the original computed; see the .json files."""
