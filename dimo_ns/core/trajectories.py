"""Explicit trajectories: a free rigid transform per (motion, frame, key point).

Rendering through a decoder is the slow way to find a motion. Training finds it here, in a plain table, and the decoder
learns the table afterwards without rendering anything.
"""

# What torch leaves untyped.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from .geometry import take
from .types import RigidTransforms


class TrajectoryTable(nn.Module):
    """Transforms of K key points in T frames of M motions, initially the identity."""

    def __init__(self, motions: int, frames: int, keypoints: int):
        super().__init__()
        identity = RigidTransforms.identity(motions, frames, keypoints)
        self.translations = nn.Parameter(identity.translations)
        self.quats = nn.Parameter(identity.quats)

    def forward(self, motion_ids: Int[Tensor, "*b"], frame_ids: Int[Tensor, "*b"]) -> RigidTransforms:
        """Transforms [*b, k, ...] of the given motions and frames."""
        translations, quats = self.rows(motion_ids, frame_ids)
        return RigidTransforms(translations, F.normalize(quats, dim=-1))

    def rows(
        self, motion_ids: Int[Tensor, "*b"], frame_ids: Int[Tensor, "*b"]
    ) -> tuple[Float[Tensor, "*b k 3"], Float[Tensor, "*b k 4"]]:
        """Translations and quaternions, not normalised, of the given motions and frames."""
        indices = motion_ids * self.quats.shape[1] + frame_ids
        translations, quats = (
            take(table.flatten(0, 1).flatten(1), indices).unflatten(-1, table.shape[2:])
            for table in (self.translations, self.quats)
        )
        return translations, quats

    def at(self, motion_ids: Int[Tensor, " b"], times: Float[Tensor, " b"]) -> RigidTransforms:
        """Transforms [b, k, ...] at times in frames, between those of the frames before and after."""
        last = self.quats.shape[1] - 1
        times = times.clamp(0, last)
        first = times.floor().long()
        share = (times - first)[:, None, None]
        before, after = self(motion_ids, first), self(motion_ids, (first + 1).clamp(max=last))
        same = torch.where((before.quats * after.quats).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        translations = torch.lerp(before.translations, after.translations, share)
        quats = torch.lerp(before.quats, same * after.quats, share.expand_as(after.quats))
        return RigidTransforms(translations, F.normalize(quats, dim=-1))

    @torch.no_grad()
    def retime(self, times: Float[Tensor, "m t"]) -> None:
        """Every frame of each motion becomes what was at a time, in frames."""
        motions, frames = times.shape
        found = self.at(torch.arange(motions, device=times.device).repeat_interleave(frames), times.flatten())
        self.translations.copy_(found.translations.unflatten(0, (motions, frames)))
        self.quats.copy_(found.quats.unflatten(0, (motions, frames)))

    @torch.no_grad()
    def continuous(self) -> RigidTransforms:
        """The whole table [m, t, k, ...] with unit quaternions whose sign does not jump from frame to frame; the first
        frame of every motion has w >= 0, so that motions that start alike agree."""
        quats = F.normalize(self.quats, dim=-1)
        first = torch.where(quats[:, :1, :, :1] < 0, -1.0, 1.0)
        agree = (quats[:, 1:] * quats[:, :-1]).sum(-1, keepdim=True)
        signs = torch.cat([first, torch.where(agree < 0, -1.0, 1.0)], 1).cumprod(1)
        return RigidTransforms(self.translations.detach().clone(), quats * signs)
