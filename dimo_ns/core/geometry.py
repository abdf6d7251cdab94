"""Quaternions (wxyz), rigid alignment, nearest and farthest points, orbit cameras."""

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


def matrix_to_quat(matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit wxyz quaternions of rotation matrices, w >= 0 (Shepperd's method, by the best-conditioned branch)."""
    m = matrices
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    candidates = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, a, b, c], -1),
            torch.stack([a, 1 + m00 - m11 - m22, d, e], -1),
            torch.stack([b, d, 1 - m00 + m11 - m22, f], -1),
            torch.stack([c, e, f, 1 - m00 - m11 + m22], -1),
        ],
        -2,
    )
    best = candidates.diagonal(dim1=-2, dim2=-1).argmax(-1)
    quats = F.normalize(candidates.take_along_dim(best[..., None, None], -2).squeeze(-2), dim=-1)
    return torch.where(quats[..., :1] < 0, -quats, quats)


def align_rotation(
    source: Float[Tensor, "*batch n 3"], target: Float[Tensor, "*batch n 3"]
) -> Float[Tensor, "*batch 3 3"]:
    """The rotation R that minimises sum |R source - target|^2 over vectors from a common origin (Kabsch, by SVD)."""
    u, _, vh = torch.linalg.svd(source.mT @ target)
    sign = torch.det(u) * torch.det(vh)
    u = torch.cat([u[..., :2], u[..., 2:] * sign[..., None, None]], -1)
    return vh.mT @ u.mT


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


def look_at(eye: Float[Tensor, "*batch 3"], target: Float[Tensor, " 3"]) -> Float[Tensor, "*batch 4 4"]:
    """OpenGL camera-to-world (x right, y up, looks along -z) of a z-up world; straight from above or below, right is
    +y."""
    back = F.normalize(eye - target, dim=-1)
    x, y, _ = back.unbind(-1)
    right = torch.stack([-y, x, torch.zeros_like(x)], -1)
    vertical = right.norm(dim=-1, keepdim=True) < 1e-6
    right = torch.where(vertical, torch.tensor([0.0, 1.0, 0.0]).to(eye), F.normalize(right, dim=-1))
    return _camera(eye, right, back)


def _camera(
    eye: Float[Tensor, "*batch 3"], right: Float[Tensor, "*batch 3"], back: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 4 4"]:
    c2w = torch.zeros(*eye.shape[:-1], 4, 4, dtype=eye.dtype, device=eye.device)
    c2w[..., :3, :3] = torch.stack([right, torch.linalg.cross(back, right, dim=-1), back], -1)
    c2w[..., :3, 3] = eye
    c2w[..., 3, 3] = 1
    return c2w


def orbit_c2w(
    azimuth_deg: Float[Tensor, "*batch"], elevation_deg: Float[Tensor, "*batch"], radius: float
) -> Float[Tensor, "*batch 4 4"]:
    """Camera-to-world of cameras on a sphere that look at the origin: azimuth 0 on +x, 90 on +y; elevation up."""
    azimuth, elevation = torch.deg2rad(azimuth_deg), torch.deg2rad(elevation_deg)
    back = torch.stack([elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin()], -1)
    right = torch.stack([-azimuth.sin(), azimuth.cos(), torch.zeros_like(azimuth)], -1)
    return _camera(radius * back, right, back)


def viewmats_from_c2w(c2w: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """World-to-camera in OpenCV axes (x right, y down, z forward), as the rasterizer wants it, from OpenGL c2w."""
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=c2w.dtype, device=c2w.device)
    rotation = (c2w[..., :3, :3] * flip).mT
    viewmats = torch.zeros_like(c2w)
    viewmats[..., :3, :3] = rotation
    viewmats[..., :3, 3] = -(rotation @ c2w[..., :3, 3:]).squeeze(-1)
    viewmats[..., 3, 3] = 1
    return viewmats
