"""The motion decoder: (key point, time, latent) -> rigid transform of that key point.

Two of them, with one interface. `MLPDecoder` is the paper's (section 3.2): an MLP that is evaluated for every key point
and time. `LowRankDecoder` evaluates a small trunk once per (time, latent); what it returns are the coordinates of the
whole pose in a learned linear basis that every key point carries. It is fitted many times faster and more closely, and
costs next to nothing, because key point trajectories of one object are nearly low-rank.
"""

# What torch leaves untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .types import RigidTransforms


def fourier_features(x: Float[Tensor, "*batch d"], frequencies: int) -> Float[Tensor, "*batch f"]:
    """sin and cos of 2^k x for k < frequencies; no raw input and no pi, as the paper has it."""
    scaled = x[..., None] * 2.0 ** torch.arange(frequencies, device=x.device)
    return torch.cat([scaled.sin(), scaled.cos()], -1).flatten(-2)


class MLPDecoder(nn.Module):
    """The paper's decoder: 8 layers of 256 with a skip into the sixth, heads for translation and rotation."""

    POSITION_FREQUENCIES, TIME_FREQUENCIES, WIDTH, DEPTH, SKIP = 10, 6, 256, 8, 5

    def __init__(self, latent_dim: int = 32):
        super().__init__()
        inputs = 6 * self.POSITION_FREQUENCIES + 2 * self.TIME_FREQUENCIES + latent_dim
        width = self.WIDTH
        fan_in = [inputs] + [width + inputs if i == self.SKIP else width for i in range(1, self.DEPTH)]
        self.layers = nn.ModuleList(nn.Linear(n, width) for n in fan_in)
        translation, rotation = nn.Linear(width, 3), nn.Linear(width, 4)
        self.translation_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), translation)
        self.rotation_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), rotation)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.zeros_(translation.weight)
        nn.init.zeros_(rotation.weight)
        rotation.bias.data[0] = 1

    def forward(
        self, keypoints: Float[Tensor, "k 3"], t: Float[Tensor, " b"], z: Float[Tensor, "b d"]
    ) -> RigidTransforms:
        """Transforms [b, k, ...] of the key points (canonical positions) at times in [0, 1) under latents."""
        position = fourier_features(keypoints, self.POSITION_FREQUENCIES)
        condition = torch.cat([fourier_features(t[:, None], self.TIME_FREQUENCIES), z], -1)
        x = torch.cat([position.expand(len(t), -1, -1), condition[:, None].expand(-1, len(keypoints), -1)], -1)
        h = x
        for i, layer in enumerate(self.layers):
            h = F.relu(layer(torch.cat([x, h], -1) if i == self.SKIP else h))
        return RigidTransforms(self.translation_head(h), F.normalize(self.rotation_head(h), dim=-1))


class LowRankDecoder(nn.Module):
    """A trunk (t, z) -> R coordinates, times a basis [R, 7] per key point, plus the identity motion.

    The basis belongs to the key points that it was made for: row i of `basis` moves key point i.
    """

    TIME_FREQUENCIES = 12

    def __init__(self, keypoints: int, latent_dim: int = 32, rank: int = 64, width: int = 256):
        super().__init__()
        inputs = 2 * self.TIME_FREQUENCIES + latent_dim
        self.trunk = nn.Sequential(
            nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, rank)
        )
        self.basis = nn.Parameter(torch.randn(rank, keypoints, 7) * 1e-3)
        self.offset = nn.Parameter(torch.zeros(keypoints, 7))
        with torch.no_grad():
            self.offset[:, 3] = 1

    def coordinates(self, t: Float[Tensor, " b"], z: Float[Tensor, "b d"]) -> Float[Tensor, "b r"]:
        """Where the pose lies in the basis."""
        return self.trunk(torch.cat([time_features(t, self.TIME_FREQUENCIES), z], -1))

    def forward(
        self, keypoints: Float[Tensor, "k 3"], t: Float[Tensor, " b"], z: Float[Tensor, "b d"]
    ) -> RigidTransforms:
        """Transforms [b, k, ...] of the key points at times in [0, 1) under latents."""
        rank, count, _ = self.basis.shape
        pose = torch.addmm(self.offset.flatten(), self.coordinates(t, z), self.basis.view(rank, -1))
        pose = pose.view(len(t), count, 7)
        return RigidTransforms(pose[..., :3], F.normalize(pose[..., 3:], dim=-1))

    @torch.no_grad()
    def fit_basis(self, transforms: RigidTransforms) -> Float[Tensor, "b r"]:
        """Sets basis and offset to the principal components of given transforms [b, k, ...]; returns their
        coordinates, whitened to unit variance: what the trunk has to learn. Quaternion signs must be continuous."""
        rank, count, _ = self.basis.shape
        poses = torch.cat([transforms.translations, transforms.quats], -1).flatten(1)
        mean = poses.mean(0)
        u, s, vh = torch.linalg.svd(poses - mean, full_matrices=False)
        kept = min(rank, len(s))
        scale = s[:kept] / math.sqrt(len(poses))
        self.offset.copy_(mean.view(count, 7))
        self.basis.zero_()
        self.basis[:kept] = (scale[:, None] * vh[:kept]).view(kept, count, 7)
        coordinates = poses.new_zeros(len(poses), rank)
        coordinates[:, :kept] = u[:, :kept] * math.sqrt(len(poses))
        return coordinates


def time_features(t: Float[Tensor, " b"], frequencies: int) -> Float[Tensor, "b f"]:
    """sin and cos of pi (k + 1) t / 2 for k < frequencies: no period within [0, 1], smooth between frames."""
    scaled = t[:, None] * (0.5 * math.pi * torch.arange(1, frequencies + 1, device=t.device))
    return torch.cat([scaled.sin(), scaled.cos()], -1)
