"""The visual hull of a frame: which points lie inside all of its silhouettes, and where its surface is."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dimo_ns.core.cameras import EXTENT
from dimo_ns.errors import DimoError


def inside_hull(
    points: Float[Tensor, "n 3"],
    alpha: Float[Tensor, "v h w"],
    viewmats: Float[Tensor, "v 4 4"],
    Ks: Float[Tensor, "v 3 3"],
) -> Bool[Tensor, " n"]:
    """Which points project into the mask of every view; views whose mask is empty do not count."""
    h, w = alpha.shape[1:]
    inside = torch.ones(len(points), dtype=torch.bool, device=points.device)
    for mask, viewmat, K in zip(alpha > 0.5, viewmats, Ks, strict=True):
        if not mask.any():
            continue
        camera = points @ viewmat[:3, :3].T + viewmat[:3, 3]
        pixels = camera @ K.T
        x, y = (pixels[:, :2] / pixels[:, 2:].clamp(min=1e-6)).floor().long().unbind(-1)
        seen = (camera[:, 2] > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
        inside &= seen & (mask[y.clamp(0, h - 1), x.clamp(0, w - 1)])
    return inside


def hull_surface(
    alpha: Float[Tensor, "v h w"],
    viewmats: Float[Tensor, "v 4 4"],
    Ks: Float[Tensor, "v 3 3"],
    count: int,
    generator: torch.Generator,
    resolution: int = 128,
) -> Float[Tensor, "n 3"]:
    """Points in the outer layer of the visual hull, uniform by volume. Raises DimoError where all masks are empty, or
    those of the views have nothing in common."""
    if not (alpha > 0.5).any():
        raise DimoError(
            "The reference frame (frame 0 of the first motion) shows nothing in any view; check that its images exist "
            "and have an alpha channel or masks that cover the object."
        )
    axis = (torch.arange(resolution) + 0.5) / resolution * 2 * EXTENT - EXTENT
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3).to(alpha.device)
    occupied = inside_hull(grid, alpha, viewmats, Ks).view(1, 1, resolution, resolution, resolution).float()
    if not occupied.any():
        raise DimoError(
            "The silhouettes of the reference frame have nothing in common; check that the poses in cameras.json are "
            "camera-to-world in OpenGL axes and that the object is at the origin, with a radius of about 0.5."
        )
    surface = ((occupied > 0) & (F.avg_pool3d(F.pad(occupied, (1,) * 6), 3, 1) < 0.99)).view(-1)
    cells = grid[surface]
    chosen = cells[torch.randint(len(cells), (count,), generator=generator).to(cells.device)]
    jitter = torch.rand(count, 3, generator=generator).to(cells) - 0.5
    return chosen + jitter * (2 * EXTENT / resolution)
