"""Linear blend skinning as fast as the device has it: by kernels of our own on CUDA and on a CPU, else by torch."""

from jaxtyping import Float, Int
from torch import Tensor

from .. import gpu
from ..core import skinning
from ..core.types import RigidTransforms
from .common import has_numba


def fused_skin(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    keypoints: Float[Tensor, "k 3"],
    log_radii: Float[Tensor, " k"],
    indices: Int[Tensor, "n j"],
    transforms: RigidTransforms,
) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b n 4"]]:
    """Poses Gaussians as `core.skinning.skin_by_radii` does, in one pass over them where there is a kernel for it; for
    `Scene(..., skin=fused_skin)`."""
    arguments = means, quats, keypoints, log_radii, indices, transforms
    if gpu.usable(means) and indices.shape[1] == skinning.NEIGHBOURS:
        from ..gpu.skinning import skin  # Triton is not everywhere

        return skin(*arguments)
    if means.device.type == "cpu" and has_numba():
        from .cpu.skinning import blend  # numba takes long to import

        return skinning.skin_by_radii(*arguments, blend)
    return skinning.skin_by_radii(*arguments)
