"""The canonical Gaussians: what is learned, how it is activated, and how it is first laid out."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from .geometry import nearest
from .types import Gaussians

SH0 = 0.28209479177387814
"""The spherical harmonic of degree 0, 1 / (2 sqrt(pi)): files of splats have colours as (color - 0.5) / SH0."""


class CanonicalGaussians(nn.Module):
    """Splats of the object at rest: the parameters that training changes, in unconstrained form."""

    def __init__(
        self,
        means: Float[Tensor, "n 3"],
        scales: Float[Tensor, "n 3"],
        opacities: Float[Tensor, " n"],
        colors: Float[Tensor, "n 3"],
        quats: Float[Tensor, "n 4"] | None = None,
    ):
        super().__init__()
        if quats is None:
            quats = torch.zeros(len(means), 4, device=means.device)
            quats[:, 0] = 1
        self.means = nn.Parameter(means.clone())
        self.quats = nn.Parameter(quats.clone())
        self.log_scales = nn.Parameter(scales.log())
        self.logit_opacities = nn.Parameter(torch.logit(opacities))
        self.colors = nn.Parameter(colors.clone())

    def __len__(self) -> int:
        return len(self.means)

    def forward(self) -> Gaussians:
        """The splats in their canonical pose."""
        return Gaussians(
            self.means,
            F.normalize(self.quats, dim=-1),
            self.log_scales.exp(),
            torch.sigmoid(self.logit_opacities),
            self.colors,
        )

    @staticmethod
    def blank(count: int) -> "CanonicalGaussians":
        """So many Gaussians without meaning, to load others into."""
        return CanonicalGaussians(
            torch.zeros(count, 3), torch.ones(count, 3), torch.full((count,), 0.5), torch.zeros(count, 3)
        )

    def select(self, rows: Int[Tensor, " m"]) -> "CanonicalGaussians":
        """A new set of these rows, in this order; repeats are allowed."""
        chosen = CanonicalGaussians.blank(len(rows)).to(self.means.device)
        chosen.load_state_dict({name: value[rows] for name, value in self.state_dict().items()})
        return chosen


def spacing(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """Mean distance of each point to its three nearest others: the scale that just covers the gaps (3DGS)."""
    return nearest(points, points, 4)[0][:, 1:].mean(-1).clamp(min=1e-5)


def init_around_keypoints(
    keypoints: Float[Tensor, "k 3"],
    radii: Float[Tensor, " k"],
    colors: Float[Tensor, "k 3"],
    per_keypoint: int,
    opacity: float = 0.1,
    generator: torch.Generator | None = None,
) -> CanonicalGaussians:
    """The adaptive init (after SC4D): points uniform in a ball of each key point's own radius, drawn separately
    for every key point; isotropic, as large as a ball of that many points is wide apart."""
    count = len(keypoints)
    direction = F.normalize(torch.randn(count, per_keypoint, 3, generator=generator), dim=-1).to(keypoints)
    distance = torch.rand(count, per_keypoint, 1, generator=generator).to(keypoints) ** (1 / 3)
    means = keypoints[:, None] + radii[:, None, None] * distance * direction
    scales = (radii * (0.5 * (4 / 3 * math.pi / per_keypoint) ** (1 / 3)))[:, None].expand(-1, per_keypoint)
    return CanonicalGaussians(
        means.flatten(0, 1),
        scales.flatten()[:, None].expand(-1, 3),
        means.new_full((count * per_keypoint,), opacity),
        colors[:, None].expand(-1, per_keypoint, -1).flatten(0, 1),
    )


def gaussians_on(points: Float[Tensor, "n 3"]) -> CanonicalGaussians:
    """Grey, half-transparent, isotropic Gaussians that just cover the gaps between these points."""
    scales = (0.8 * spacing(points))[:, None].expand(-1, 3)
    return CanonicalGaussians(points, scales, points.new_full((len(points),), 0.5), torch.full_like(points, 0.5))


def gaussians_in_ball(count: int, radius: float, scale: float, generator: torch.Generator) -> CanonicalGaussians:
    """Points uniform in a ball, equal isotropic scales, opacity .05 (paper, stage 1)."""
    direction = F.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    means = radius * direction * torch.rand(count, 1, generator=generator) ** (1 / 3)
    colors = torch.rand(count, 3, generator=generator)
    return CanonicalGaussians(means, torch.full((count, 3), scale), torch.full((count,), 0.05), colors)
