"""What takes torch dozens of kernel launches, in one each: Triton kernels for CUDA devices.

Every function here does what one of `core` or `tracking` does, which stays the oracle and serves where there is no
Triton. Modules of this package import Triton, so they are imported where `usable` says that they can be.
"""

import functools
import importlib.util

from torch import Tensor


def usable(tensor: Tensor) -> bool:
    """Whether the kernels can work on a tensor: it is on a CUDA device, and Triton is installed."""
    return tensor.is_cuda and _has_triton()


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None
