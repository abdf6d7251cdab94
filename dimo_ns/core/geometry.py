"""Quaternions (wxyz), rigid alignment, nearest and farthest points, orbit cameras."""

# What torch leaves untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def quat_multiply(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Hamilton product of wxyz quaternions: first rotate by b, then by a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def quat_to_matrix(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of unit wxyz quaternions."""
    w, x, y, z = quats.unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def take(table: Float[Tensor, "n d"], indices: Int[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
    """table[indices], whose gradient is summed in one order whatever the threads; plain indexing adds atomically."""
    return F.embedding(indices, table)


def nearest(
    queries: Float[Tensor, "q 3"], points: Float[Tensor, "p 3"], count: int, chunk: int = 16384
) -> tuple[Float[Tensor, "q count"], Int[Tensor, "q count"]]:
    """Distances and indices of the nearest points to each query, nearest first."""
    results = [
        torch.cdist(part, points, compute_mode="donot_use_mm_for_euclid_dist").topk(count, largest=False)
        for part in queries.split(chunk)
    ]
    return torch.cat([r.values for r in results]), torch.cat([r.indices for r in results])


def nearest_neighbours(points: Float[Tensor, "p 3"], count: int) -> Int[Tensor, "p count"]:
    """Indices of each point's nearest other points, nearest first; the point itself is never among them."""
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(math.inf)
    return distances.topk(count, largest=False).indices


def farthest_points(points: Float[Tensor, "p 3"], count: int, start: int = 0) -> Int[Tensor, " count"]:
    """Indices of a farthest-point sample: each next one is the point that is farthest from all chosen before."""
    chosen = torch.empty(count, dtype=torch.long, device=points.device)
    distance = torch.full((len(points),), math.inf, device=points.device)
    current = torch.tensor(start, device=points.device)
    for i in range(count):
        chosen[i] = current
        distance = torch.minimum(distance, (points - points[current]).square().sum(-1))
        current = distance.argmax()
    return chosen
