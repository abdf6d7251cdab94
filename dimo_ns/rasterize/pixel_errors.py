"""How far rendered pixels are from those of frames, by kernels of our own on CUDA and on a CPU, else by torch."""

from jaxtyping import Float
from torch import Tensor

from .. import gpu
from ..core import losses
from .common import has_numba


def pixel_errors(
    color: Float[Tensor, "b c h w 3"],
    alpha: Float[Tensor, "b c h w 1"],
    rgba: Float[Tensor, "b c h w 4"],
    importance: Float[Tensor, "b c"],
    weights: losses.ErrorWeights,
) -> Float[Tensor, "3"]:
    """`core.losses.pixel_errors` in one pass over the pixels where there is a kernel for it; no gradient reaches the
    frames."""
    arguments = color, alpha, rgba, importance, weights
    if gpu.usable(color):
        from ..gpu.pixel_errors import pixel_errors as on_gpu  # Triton is not everywhere

        return on_gpu(*arguments)
    if color.device.type == "cpu" and has_numba():
        from .cpu.pixel_errors import pixel_errors as on_cpu  # numba takes long to import

        return on_cpu(*arguments)
    return losses.pixel_errors(*arguments)
