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

from dimo_ns.core.geometry import nearest_neighbours
from dimo_ns.training.initialize import inside_hull

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


def connect(
    keypoints: Float[Tensor, "k 3"],
    alpha: Float[Tensor, "v h w"],
    viewmats: Float[Tensor, "v 4 4"],
    Ks: Float[Tensor, "v 3 3"],
    count: int,
) -> Int[Tensor, "k j"]:
    """Nearest neighbours of each key point that can be reached through the object: an edge that leaves the visual hull
    (from one leg to the other) is replaced by the key point itself, which carries no energy. The two nearest stay."""
    edges = nearest_neighbours(keypoints, count)
    grown = F.max_pool2d(alpha[None], 3, 1, 1)[0]
    reachable = torch.ones_like(edges, dtype=torch.bool)
    for fraction in (0.25, 0.5, 0.75):
        between = keypoints[:, None] + fraction * (keypoints[edges] - keypoints[:, None])
        reachable &= inside_hull(between.flatten(0, 1), grown, viewmats, Ks).view(edges.shape)
    reachable[:, :2] = True
    return torch.where(reachable, edges, torch.arange(len(keypoints), device=edges.device)[:, None])


def diffusion(neighbours: Int[Tensor, "k j"], strength: float) -> Float[Tensor, "k k"]:
    """(I + strength L)^-1 of the key point graph, L its random-walk Laplacian: averages over a neighbourhood that
    grows with `strength` (Nicolet 2021, Large Steps in Inverse Rendering)."""
    count = len(neighbours)
    adjacency = torch.zeros(count, count, device=neighbours.device)
    adjacency[torch.arange(count, device=neighbours.device)[:, None], neighbours] = 1
    adjacency = torch.maximum(adjacency, adjacency.T).fill_diagonal_(0)
    identity = torch.eye(count, device=neighbours.device)
    return torch.linalg.inv(identity + strength * (identity - adjacency / adjacency.sum(1, keepdim=True)))


class DiffuseGradient(torch.autograd.Function):
    """The identity; backward, the gradient [b, k, c] is diffused twice over the key points."""

    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(kernel)
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (kernel,) = ctx.saved_tensors
        return kernel @ (kernel.T @ grad), None


class FrameAdam(torch.optim.Optimizer):
    """Adam whose unit is a frame: parameters are [m, t, k, c]; a frame without gradient is left alone, with its
    moments; the second moment is one number per frame (its largest entry), so that the direction of a step, and with
    it the smoothness of a diffused gradient, is kept."""

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.98), eps: float = 1e-15):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step; none at all where `found_inf` says that something was not finite."""
        for group in self.param_groups:
            (beta1, beta2), lr, eps = group["betas"], group["lr"], group["eps"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    per_frame = p.new_zeros(*p.shape[:2], 1, 1)
                    state.update(mean=torch.zeros_like(p), square=per_frame, count=per_frame.clone())
                largest = p.grad.abs().amax((-1, -2), keepdim=True)
                seen = largest > 0
                if self.found_inf is not None:
                    seen &= self.found_inf == 0
                state["count"] += seen
                state["mean"].copy_(torch.where(seen, beta1 * state["mean"] + (1 - beta1) * p.grad, state["mean"]))
                state["square"].copy_(
                    torch.where(seen, beta2 * state["square"] + (1 - beta2) * largest**2, state["square"])
                )
                mean = state["mean"] / (1 - beta1 ** state["count"])
                root = (state["square"] / (1 - beta2 ** state["count"])).sqrt() + eps
                p.sub_(torch.where(seen, lr * mean / root, 0.0))
