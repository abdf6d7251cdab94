"""Linear blend skinning: key points carry the canonical Gaussians (paper, section 3.2).

    w_ij ~ exp(-|x_i - c_j|^2 / (2 rho_j^2)) + 1e-7,  normalised over the K nearest key points
    x_i' = sum_j w_ij [R_j (x_i - c_j) + c_j + delta_j]
    q_i' = normalise(sum_j w_ij s_ij q_j) x q_i,      s_ij = +-1: every q_j in the half-space of the nearest one

The transform of a key point is an affine map x -> R_j x + b_j with b_j = c_j + delta_j - R_j c_j, so only the K key
points are turned into matrices; a Gaussian takes a weighted sum of four rows of one table.
"""

# What torch leaves untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .geometry import nearest, quat_multiply, quat_to_matrix
from .types import RigidTransforms, SkinningWeights

NEIGHBOURS = 4


def find_neighbours(means: Float[Tensor, "n 3"], keypoints: Float[Tensor, "k 3"]) -> Int[Tensor, "n j"]:
    """The key points that carry each Gaussian: the nearest four in canonical space, nearest first."""
    return nearest(means.detach(), keypoints.detach(), min(NEIGHBOURS, len(keypoints)))[1]


def skinning_weights(
    means: Float[Tensor, "n 3"],
    keypoints: Float[Tensor, "k 3"],
    log_radii: Float[Tensor, " k"],
    indices: Int[Tensor, "n j"],
) -> SkinningWeights:
    """Gaussian weights of the given neighbours; differentiable in means, key points and radii (world units)."""
    flat = indices.flatten()
    squared = (means[:, None] - keypoints.index_select(0, flat).unflatten(0, indices.shape)).square().sum(-1)
    inverse = torch.exp(-2 * log_radii).index_select(0, flat).view(indices.shape)
    weights = torch.exp(-0.5 * squared * inverse) + 1e-7
    return SkinningWeights(indices, weights / weights.sum(-1, keepdim=True))


def blend(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    weights: Float[Tensor, "n j"],
    affine: Float[Tensor, "b k 12"],
    turns: Float[Tensor, "b k 4"],
    indices: Int[Tensor, "n j"],
) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b n 4"]]:
    """Takes the sums above: affine maps (rows of [3, 4]) move the means, sign-aligned turns turn the quats."""
    batch, count = turns.shape[:2]
    blended = weighted_rows(affine.transpose(0, 1).flatten(1), indices, weights)
    blended = blended.view(len(means), batch, 3, 4).transpose(0, 1)
    posed_means = (blended[..., :3] * means[None, :, None, :]).sum(-1) + blended[..., 3]

    with torch.no_grad():
        gathered = turns[:, indices]  # [b, n, j, 4]
        signs = torch.where((gathered * gathered[:, :, :1]).sum(-1) < 0, -1.0, 1.0).to(weights)
    rows = indices + count * torch.arange(batch, device=means.device)[:, None, None]
    turn = weighted_rows(turns.flatten(0, 1), rows.flatten(0, 1), (weights * signs).flatten(0, 1))
    return posed_means, quat_multiply(F.normalize(turn.unflatten(0, (batch, -1)), dim=-1), quats[None])


Blend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""A function with the arguments of `blend`, in their order, and its results."""


def skin(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    skinning: SkinningWeights,
    keypoints: Float[Tensor, "k 3"],
    transforms: RigidTransforms,
    blend: Blend = blend,
) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b n 4"]]:
    """Posed means and quats (wxyz, unit) of canonical Gaussians under B sets of key point transforms [b, k, ...].

    `blend`: `blend` above, or what does the same faster.
    """
    rotations = quat_to_matrix(transforms.quats)
    offsets = keypoints + transforms.translations - (rotations @ keypoints[:, :, None]).squeeze(-1)
    affine = torch.cat([rotations, offsets[..., None]], -1).flatten(-2)  # [b, k, 12]
    return blend(means, quats, skinning.weights, affine, transforms.quats, skinning.indices)


Skin = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, RigidTransforms], tuple[Tensor, Tensor]]
"""A function with the first six arguments of `skin_by_radii`, in their order, and its results."""


def skin_by_radii(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    keypoints: Float[Tensor, "k 3"],
    log_radii: Float[Tensor, " k"],
    indices: Int[Tensor, "n j"],
    transforms: RigidTransforms,
    blend: Blend = blend,
) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b n 4"]]:
    """`skin` by the `skinning_weights` of these neighbours: everything from what is trained to the posed Gaussians."""
    return skin(means, quats, skinning_weights(means, keypoints, log_radii, indices), keypoints, transforms, blend)


def weighted_rows(
    table: Float[Tensor, "k d"], indices: Int[Tensor, "n j"], weights: Float[Tensor, "n j"]
) -> Float[Tensor, "n d"]:
    """sum_j weights[n, j] table[indices[n, j]], without the [n, j, d] intermediate."""
    return F.embedding_bag(indices, table, per_sample_weights=weights, mode="sum")
