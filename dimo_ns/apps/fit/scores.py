"""How well key point transforms, or latents, show what was seen."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.apps.fit.observations import BATCH, Observations
from dimo_ns.core import losses
from dimo_ns.core.types import RigidTransforms
from dimo_ns.space.motion_space import MotionSpace


@dataclass(frozen=True)
class Seen:
    """How well the pictures that a fit was made from are shown."""

    psnr: float
    """Over white, mean over the pictures, in dB."""
    overlap: float
    """Intersection over union of the silhouettes, mean over the pictures."""


@torch.no_grad()
def compare_seen(space: MotionSpace, transforms: RigidTransforms, seen: Observations) -> Seen:
    """Compares key point transforms [t, k, ...] with all pictures."""
    decibels, overlaps = [], []
    views = torch.arange(len(seen.views), device=seen.device)
    for frames in seen.seen.split(BATCH):
        chosen = views.expand(len(frames), -1)
        picture = seen.render(space.scene.carry(transforms[frames]), chosen)
        rgba = seen.rgba(frames[:, None], chosen)
        target, mask = losses.composite(rgba, torch.ones(3, device=rgba.device))
        there = seen.exist[frames]
        error = (picture.over().clamp(0, 1) - target).square().mean((2, 3, 4))[there]
        decibels.append(-10 * torch.log10(error.clamp(min=1e-10)))
        ours, true = picture.alpha > 0.5, mask > 0.5
        union = (ours | true).sum((2, 3, 4)).clamp(min=1)
        overlaps.append(((ours & true).sum((2, 3, 4)) / union)[there])
    return Seen(float(torch.cat(decibels).mean()), float(torch.cat(overlaps).mean()))


@torch.no_grad()
def scores(space: MotionSpace, z: Float[Tensor, "n d"], seen: Observations) -> Float[Tensor, " n"]:
    """The PSNR of each latent over all pictures, in dB."""
    found = [compare_seen(space, space.motion(row[None], seen.times)[0], seen).psnr for row in z]
    return torch.tensor(found, device=z.device)
