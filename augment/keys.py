"""Keys of a stage: the numbers and words that `--mix_mode NAME:key=value` sets.

Distillers have the same.
"""

from helper.registry import Key, Value, key, spell

__all__ = ["Key", "Value", "key", "spell"]
