"""The loops that benchmark.py times."""
