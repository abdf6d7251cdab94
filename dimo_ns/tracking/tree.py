"""Finding motions without a decoder: in which order to visit the frames, and how to move key points together.

All frames of all motions are nodes of one graph, weighted by how different they look. Its minimum spanning tree, rooted
at the reference frame, is the order of tracking: every frame starts from the pose of the most similar frame that is
done already, whichever motion that belongs to. All frames at one depth of the tree are fitted at once.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

THUMBNAIL = 32


@dataclass
class Tree:
    """A spanning tree over n frames (frame = motion * T + time); the root is its own parent."""

    parents: Int[Tensor, " n"]
    depths: Int[Tensor, " n"]


def silhouette_centres(alpha: Float[Tensor, "n v h w"]) -> Float[Tensor, "n v 2"]:
    """Mean pixel position (x, y) of each mask, in pixels; the image's centre where it is empty."""
    h, w = alpha.shape[-2:]
    x = torch.arange(w, device=alpha.device) + 0.5
    y = torch.arange(h, device=alpha.device) + 0.5
    mass = alpha.sum((-1, -2))
    sums = torch.stack([(alpha.sum(-2) * x).sum(-1), (alpha.sum(-1) * y).sum(-1)], -1)
    middle = torch.tensor([w / 2, h / 2], device=alpha.device)
    return torch.where(mass[..., None] > 0, sums / mass[..., None].clamp(min=1e-6), middle)


def triangulate(
    pixels: Float[Tensor, "n v 2"],
    viewmats: Float[Tensor, "v 4 4"],
    Ks: Float[Tensor, "v 3 3"],
    weights: Float[Tensor, "n v"],
) -> Float[Tensor, "n 3"]:
    """The point nearest to the rays through one pixel per view, in world units; rays of weight 0 do not count.

    One ray leaves the distance free: a small pull towards the origin decides it.
    """
    homogeneous = F.pad(pixels, (0, 1), value=1.0)
    rays = torch.einsum("vij,nvj->nvi", torch.linalg.inv(Ks), homogeneous)
    rotations = viewmats[:, :3, :3]
    directions = F.normalize(torch.einsum("vji,nvj->nvi", rotations, rays), dim=-1)
    centres = -torch.einsum("vji,vj->vi", rotations, viewmats[:, :3, 3])
    identity = torch.eye(3, device=pixels.device)
    across = (identity - directions[..., :, None] * directions[..., None, :]) * weights[..., None, None]
    return torch.linalg.solve(across.sum(1) + 1e-3 * identity, torch.einsum("nvij,vj->ni", across, centres))


def frame_distances(rgba: Float[Tensor, "n v h w 4"], available: Float[Tensor, "n v"]) -> Float[Tensor, "n n"]:
    """How different frames look: RMS difference of thumbnails, each shifted so that its silhouette is centred, over
    the views that both frames have; infinite where they share none."""
    n, v, h, w, _ = rgba.shape
    images = rgba.permute(0, 1, 4, 2, 3).flatten(0, 1)
    size = torch.tensor([w, h], device=rgba.device)
    shift = 2 * silhouette_centres(rgba[..., 3]).flatten(0, 1) / size - 1
    affine = torch.eye(2, 3, device=rgba.device).repeat(n * v, 1, 1)
    affine[:, :, 2] = shift
    centred = F.grid_sample(images, F.affine_grid(affine, list(images.shape), align_corners=False), align_corners=False)
    thumbnails = F.adaptive_avg_pool2d(centred, THUMBNAIL).view(n, v, -1)
    total = torch.zeros(n, n, device=rgba.device)
    for view in range(v):
        both = available[:, view, None] * available[None, :, view]
        total += torch.cdist(thumbnails[:, view], thumbnails[:, view]).square() * both
    shared = available @ available.T
    return torch.where(shared > 0, total / (shared * thumbnails.shape[-1]).clamp(min=1), float("inf")).sqrt()


def spanning_tree(distances: Float[Tensor, "n n"], root: int = 0) -> Tree:
    """Minimum spanning tree of a dense graph (Prim), hung at `root`."""
    n = len(distances)
    parents = torch.full((n,), root, dtype=torch.long)
    depths = torch.zeros(n, dtype=torch.long)
    best, nearest = distances[root].clone().cpu(), torch.full((n,), root)
    rows = distances.cpu()
    waiting = torch.ones(n, dtype=torch.bool)
    waiting[root] = False
    for _ in range(n - 1):
        node = int(torch.where(waiting, best, float("inf")).argmin())
        if not waiting[node]:  # nothing is within reach: hang what is left at the root
            node = int(waiting.nonzero()[0])
        parents[node], depths[node] = nearest[node], depths[nearest[node]] + 1
        waiting[node] = False
        closer = rows[node] < best
        best = torch.where(closer, rows[node], best)
        nearest = torch.where(closer, torch.tensor(node), nearest)
    return Tree(parents, depths)
