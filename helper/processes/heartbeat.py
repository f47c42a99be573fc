"""Notice a silent process of a run: its machine is off, the network is cut, it hangs.

A process that ends closes its connections, which the others notice at once. One that falls silent
does not: the others would wait for it inside an operation of PyTorch's, by default for half an
hour.
"""

import threading
from collections.abc import Callable

import torch.distributed as dist

BEAT_SECONDS = 3.0
SILENT_BEATS = 8
"""So many of our own beats without one of another's, and it counts as lost. (Beats, not seconds: a
suspended machine suspends all.) Torchrun gives what is left of a run another half minute to end."""
STORE_SECONDS = 20.0
"""For the answer of the store that carries the beats."""
SILENT_STORE = "the store that torchrun keeps for the run does not answer"


class Heartbeat(threading.Thread):
    """Shows the others that this process lives, and looks whether they do, until `stop`.

    To be started when all processes have made one: the store waits for those that it does not know.
    store: a connection of its own, since one that waits keeps others waiting. on_loss: called with
    a sentence if contact is lost, in this thread: the main one may wait for what never comes.
    """

    def __init__(
        self, store: dist.Store, rank: int, size: int, on_loss: Callable[[str], None]
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.store, self.rank, self.on_loss = store, rank, on_loss
        self.keys = [f"beat {number}" for number in range(size)]
        self.is_over = threading.Event()
        store.set(self.keys[rank], "0")

    def run(self) -> None:
        number, latest, silent = 0, [b""] * len(self.keys), [0] * len(self.keys)
        while not self.is_over.wait(BEAT_SECONDS):
            number += 1
            alarm = threading.Timer(
                STORE_SECONDS, self._lost, [SILENT_STORE]
            )  # the store has no such limit
            alarm.daemon = True
            alarm.start()
            try:
                self.store.set(self.keys[self.rank], str(number))
                before, latest = latest, self.store.multi_get(self.keys)
            except RuntimeError:
                self._lost(SILENT_STORE)
                return
            finally:
                alarm.cancel()
            silent = [
                count + 1 if was == now else 0 for count, was, now in zip(silent, before, latest)
            ]
            if max(silent) >= SILENT_BEATS:
                lost = silent.index(max(silent))
                self._lost(f"process {lost} was silent for {SILENT_BEATS * BEAT_SECONDS:.0f} s")
                return

    def _lost(self, reason: str) -> None:
        if not self.is_over.wait(BEAT_SECONDS):  # it may be the end of a run, where all go
            self.on_loss(f"lost contact with another process of the run ({reason})")

    def stop(self) -> None:
        self.is_over.set()
