"""A run on the disk: folder, log, checkpoints, lock, provenance, resuming.

Files are written atomically; what is read is data only and never executed. Does not belong here:
loops, losses, networks.
"""
