"""The parts of scripts/rank_augmentations.py; README.md says how to read its table."""
