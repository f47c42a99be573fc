"""Loops over batches, and the job that carries a task out.

Belongs here: tasks (distilling, measuring, training a teacher), the training loop, the T. stddev
pass, what is logged and saved while they run. Does not belong here: options (helper/setup reads
them), formulas (helper/step).
"""
