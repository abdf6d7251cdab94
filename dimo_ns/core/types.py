"""The three things that a scene is made of at one instant: splats, rigid transforms of key points, skinning weights."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

FAR = 1e6
"""Places, sizes and colours are nearer to zero: beyond, what is computed of them overflows."""


@dataclass
class Gaussians:
    """Splats, ready to be rasterized. Canonical ones have no batch axes; posed ones share what does not move."""

    means: Float[Tensor, "*batch n 3"]
    """Centres, world frame."""
    quats: Float[Tensor, "*batch n 4"]
    """Orientations, wxyz, unit length."""
    scales: Float[Tensor, "n 3"]
    """Standard deviations along the axes, world units."""
    opacities: Float[Tensor, " n"]
    """In (0, 1)."""
    colors: Float[Tensor, "*views n 3"]
    """sRGB, not clamped; training keeps them in [0, 1], where other programs clamp. Those that are seen through views
    of other exposures have batch axes."""

    def repeated(self, count: int) -> "Gaussians":
        """Canonical ones as poses, so many times; nothing is copied."""
        means, quats = self.means.expand(count, -1, -1), self.quats.expand(count, -1, -1)
        return Gaussians(means, quats, self.scales, self.opacities, self.colors)

    def splats(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What `rasterization` takes first, in its order; what is shared is expanded over the batch, not copied."""
        batch = self.means.shape[:-2]
        scales, opacities = self.scales.expand(*batch, -1, -1), self.opacities.expand(*batch, -1)
        return self.means, self.quats, scales, opacities, self.colors.expand(*batch, -1, -1)


@dataclass
class RigidTransforms:
    """What moves each key point from its canonical place c: x -> R(quat) (x - c) + c + translation."""

    translations: Float[Tensor, "*batch k 3"]
    quats: Float[Tensor, "*batch k 4"]
    """Rotations about the key point, wxyz, unit length."""

    def __getitem__(self, index: Any) -> "RigidTransforms":
        return RigidTransforms(self.translations[index], self.quats[index])

    @staticmethod
    def identity(*shape: int, device: torch.device | None = None) -> "RigidTransforms":
        """No motion: zero translations and unit quaternions of the given batch and key point shape."""
        quats = torch.zeros(*shape, 4, device=device)
        quats[..., 0] = 1
        return RigidTransforms(torch.zeros(*shape, 3, device=device), quats)


@dataclass
class SkinningWeights:
    """Which key points carry each Gaussian, nearest first, and how much."""

    indices: Int[Tensor, "n j"]
    weights: Float[Tensor, "n j"]
    """Positive; each row sums to one."""
