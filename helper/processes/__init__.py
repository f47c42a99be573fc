"""One run on several processes, and the end of a process: signals, heartbeats, BatchNorm.

Does not belong here: what is computed (helper/step), what is written (helper/run).
"""
