"""What takes torch dozens of kernel launches, in one each: Triton kernels for CUDA devices.

Every function here does what one of `core` or `tracking` does, which stays the oracle and serves where there is no
Triton. Modules of this package import Triton, so they are imported where `usable` says that they can be.
"""

import functools
import importlib.util
import logging

import torch
from torch import Tensor

_log = logging.getLogger(__name__)


def usable(tensor: Tensor) -> bool:
    """Whether the kernels can work on a tensor: it is on a CUDA device, and Triton makes kernels for it."""
    return tensor.is_cuda and _works(tensor.device)


@functools.cache
def _works(device: torch.device) -> bool:
    """Tries a small kernel; says once why there are none."""
    if importlib.util.find_spec("triton") is None:
        _log.warning("Triton is not installed: training steps on the GPU take several times as many launches.")
        return False
    from .weighted_square import weighted_square

    x, target, weights = (torch.full(shape, 2.0 * n, device=device) for n, shape in enumerate(((3, 2), (3, 2), (2,))))
    try:
        right = float(weighted_square(x, target, weights)) == 32  # two channels of weight 4 and error 2
    except Exception as error:  # Triton and what it calls (a C compiler, the driver) say it in many ways
        _log.warning("Triton makes no kernels here (%s): training steps on the GPU take more launches.", error)
        return False
    if not right:
        _log.warning("Triton's kernels give wrong results here: training steps on the GPU do without them.")
    return right
