"""The lines of log.txt that other programs look for: how to write and to find each.

Nothing here needs PyTorch, so that reading logs is fast.
"""

import re
import string

DONE = "done, see "
INTERRUPTED = "interrupted in "
STOPPED = "stopped: "
"""How the last line of a run begins: all is done; a signal ended it, and it saved itself; a fault
ended it."""
RESUMED = "resumed: "
"""The first line of a resumed run; its command follows."""

STAMP = "[{clock} {process:d} {moment}] "
"""Ahead of each line. clock: HHMMSS of the run's start, the end of its folder's name."""
EPOCH_RESULT = "Acc1 {acc1:.4f} Acc5 {acc5:.4f} TestLoss {test_loss:.6f} Epoch {epoch:d} (after"
EPOCH = EPOCH_RESULT + " update) lr {lr:.6g} (Best_Acc1 {best_acc1:.4f} @ Epoch {best_epoch:d})"
"""After each epoch. The original's line differs behind `EPOCH_RESULT`."""
PLACE = "Epoch {epoch:d} Step {step:d} TotalStep {total_step:d}"
CHECK_VALUE = PLACE + " MeanStd {t_stddev:.6f} "
CHECK = "Check T prob: NumOfSampledStd {groups:d} " + CHECK_VALUE + "MeanEntropy {entropy:.6f}"
"""After each group of a T. stddev pass."""
SUMMARY_VALUE = "T. stddev {t_stddev:.6g}"
"""In the line "Summary: <label>: ..." at the end of a pass."""


def pattern(template: str) -> str:
    """The regular expression of a line that was made from `template`.

    A group for each field, by its name.
    """
    parts = []
    for literal, name, kind, _ in string.Formatter().parse(template):
        parts.append(re.escape(literal))
        if name:
            parts.append(rf"(?P<{name}>{r'[0-9]{1,12}' if kind == 'd' else r'[^] ,]{1,40}'})")
    return "".join(parts)
