"""How the loops over pixels of this package are compiled."""

from pathlib import Path

from dimo_ns.files.machine_code import Kernels

KERNELS = Kernels((Path(__file__).parent / "creature").glob("*.py"))  # those that inline code of each other
kernel, inlined = KERNELS.kernel, KERNELS.inlined
