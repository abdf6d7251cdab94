"""The graph of the key points: which are neighbours through the object, and how gradients are diffused over it."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .. import gpu
from ..core import losses
from ..core.geometry import nearest_neighbours
from ..core.types import RigidTransforms
from .hull import inside_hull


class KeypointGraph:
    """Which key points are neighbours through the object, and what is measured in, or smoothed over, its edges."""

    def __init__(self, edges: Int[Tensor, "k j"]):
        """`edges`: the neighbours of each key point; an edge to the point itself carries nothing (`connect`)."""
        self.edges = edges
        self._kernels: dict[float, Tensor] = {}

    def kernel(self, strength: float) -> Float[Tensor, "k k"]:
        """What smooths over the graph (`diffusion`); computed once for each strength."""
        if strength not in self._kernels:
            self._kernels[strength] = diffusion(self.edges, strength)
        return self._kernels[strength]

    def edge_length_squared(self, keypoints: Float[Tensor, "k 3"]) -> Float[Tensor, ""]:
        """Mean over the edges at rest, without gradient: the unit of energies that are squared lengths."""
        keypoints = keypoints.detach()
        return (keypoints[self.edges] - keypoints[:, None]).square().sum(-1).mean().clamp(min=1e-8)

    def arap(self, keypoints: Float[Tensor, "k 3"], transforms: RigidTransforms) -> Float[Tensor, "*batch k j"]:
        """How far each edge is from having moved rigidly (`losses.arap`), in units of `edge_length_squared`."""
        return losses.arap(keypoints, self.edges, transforms) / self.edge_length_squared(keypoints)

    def mean_arap(
        self, keypoints: Float[Tensor, "k 3"], transforms: RigidTransforms, robust: float = 0.0
    ) -> Float[Tensor, ""]:
        """The mean of `arap` over transforms [b, k, ...] and edges; where `robust` is not zero, of its
        `losses.charbonnier`."""
        if gpu.usable(keypoints):
            from ..gpu.rigidity import mean_arap  # Triton is not everywhere

            return mean_arap(keypoints, self.edges, transforms, self.edge_length_squared(keypoints), robust)
        energy = self.arap(keypoints, transforms)
        return (losses.charbonnier(energy, robust) if robust else energy).mean()


def smoothed(
    translations: Float[Tensor, "b k 3"], quats: Float[Tensor, "b k 4"], kernel: Float[Tensor, "k k"]
) -> RigidTransforms:
    """The transforms of these translations and quaternions of any length; backward, gradients are diffused by `kernel`
    (`KeypointGraph.kernel`)."""
    turned = DiffuseGradient.apply(quats, kernel)
    return RigidTransforms(DiffuseGradient.apply(translations, kernel), F.normalize(turned, dim=-1))


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
    laplacian = identity - adjacency / adjacency.sum(1, keepdim=True)
    return torch.linalg.inv_ex(identity + strength * laplacian).inverse  # which always is: the check would wait


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
