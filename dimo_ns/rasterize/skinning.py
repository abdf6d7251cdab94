"""Linear blend skinning as fast as the device has it: on a CPU by a kernel of our own, else by torch."""

from jaxtyping import Float, Int
from torch import Tensor

from ..core import skinning
from .common import has_numba


def fused_blend(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    weights: Float[Tensor, "n j"],
    affine: Float[Tensor, "b k 12"],
    turns: Float[Tensor, "b k 4"],
    indices: Int[Tensor, "n j"],
) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b n 4"]]:
    """Blends as `core.skinning.blend` does, in one pass over the Gaussians where there is a kernel for it; for
    `Scene(..., blend=fused_blend)`."""
    if means.device.type == "cpu" and has_numba():
        from .cpu.skinning import blend  # numba takes long to import

        return blend(means, quats, weights, affine, turns, indices)
    return skinning.blend(means, quats, weights, affine, turns, indices)
