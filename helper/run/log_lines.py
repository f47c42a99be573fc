"""The lines of log.txt that other programs look for: how each is written, and how it is found again.

Who changes a line changes its pattern beside it. Nothing here needs PyTorch, so that reading logs is fast.
"""

DONE = "done, see "
INTERRUPTED = "interrupted in "
STOPPED = "stopped: "
"""How the last line of a run begins: all is done; a signal ended it, and it saved itself; a fault ended it."""
RESUMED = "resumed: "
"""The line that a resumed run begins with; the command follows."""
