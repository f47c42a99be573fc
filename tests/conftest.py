"""Before anything imports PyTorch: a thread for each process of the tests.

More would only get into each other's way, and a fork would wait forever for those that its parent
had.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
