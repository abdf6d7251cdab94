"""The graph of the key points: which are neighbours through the object, and how gradients are diffused over it."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ..core.geometry import nearest_neighbours
from .hull import inside_hull


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
