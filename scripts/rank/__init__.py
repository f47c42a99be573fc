"""What scripts/rank_augmentations.py is made of; README.md says how to read its table."""
