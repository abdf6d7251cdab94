"""How the kernels of this package are compiled: with which options of floating point, and what that depends on."""

import os
from pathlib import Path

from ...files.machine_code import Kernels

# No nnan or ninf: bad input must compare false and drop out, not become undefined behaviour.
FAST = ("contract", "nsz", "arcp", "reassoc")

KERNELS = Kernels(
    Path(__file__).parent.glob("*.py"), os.environ.get("DIMO_NS_LANES", ""), fastmath=set(FAST), boundscheck=False
)
kernel, inlined = KERNELS.kernel, KERNELS.inlined
