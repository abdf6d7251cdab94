"""How torch's threads wait for one another, so that training is not held up where other programs run too.

After each operation libgomp's threads spin at a barrier, 300,000 turns, before they sleep. Where a thread has to wait
for its core, the others spin as long, and a step takes several times as long as it should. libgomp spins 1,000 turns at
most while there are more of its threads than cores (its manual, GOMP_SPINCOUNT); its own settings come too late here,
since they are read when torch is imported.
"""

import os
import threading

import torch

ELEMENTS = 1 << 20
"""Of a sum that torch divides among its threads."""


def sleep_sooner() -> None:
    """Makes libgomp start a second team of threads, which sleeps as long as the process lives. Does nothing where the
    environment says how to wait."""
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ or torch.get_num_threads() == 1:
        return
    started = threading.Event()

    def hold() -> None:
        torch.ones(ELEMENTS).add_(1)
        started.set()
        threading.Event().wait()

    threading.Thread(target=hold, name="second team", daemon=True).start()
    started.wait()
