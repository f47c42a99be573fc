"""Is the teacher what its checkpoint says it is?

A wrong one trains students without complaint, and costs days.
"""

import math

from torch import nn

from dataset.streamed import AnyBatches
from helper.errors import UserError
from helper.loop.metrics import Evaluation, evaluate

ALLOWED_POINTS, ALLOWED_ERRORS = 2.0, 4.0


def check_accuracy(
    network: nn.Module, recorded: float | None, test: AnyBatches, *, amp: bool, flag: str
) -> Evaluation:
    """Evaluate the teacher. UserError, naming `flag`, if its top-1 is far below the recorded one.

    Far is more than 2 points, and more than 4 standard errors of an accuracy measured on so many
    images.
    """
    result = evaluate(network, test, amp=amp)
    if recorded is not None:
        share = recorded / 100
        error = 100 * math.sqrt(share * (1 - share) / test.count)
        if recorded - result.acc1 > max(ALLOWED_POINTS, ALLOWED_ERRORS * error):
            raise UserError(
                f"{flag}: the teacher's top-1 is {result.acc1:.2f} on {test.count} test images, but"
                f" its checkpoint records {recorded:.2f}: other data, or a file that is not what it"
                " seems"
            )
    return result
