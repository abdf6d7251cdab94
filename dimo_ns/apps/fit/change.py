"""A motion outside the space as a small change of the decoder.

What the decoder does not say of its poses is cut to its R strongest components. A decoder with R more basis vectors and
one more latent number, which is 1 for this motion and 0 for all others, says it exactly.
"""

import math
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimo_ns.core.decoder import LowRankDecoder, time_features
from dimo_ns.core.latents import MotionLatents
from dimo_ns.core.scene import Scene
from dimo_ns.core.types import RigidTransforms
from dimo_ns.data.dataset import Motion
from dimo_ns.space.motion_space import MotionSpace

GATE_LOGVAR = -12.0
"""Log variance of the latent number that tells a fitted motion from all others."""


@dataclass(eq=False)
class Change:
    """What a motion adds to the decoder's poses under its latent: the sum over R of times[:, r] basis[r]."""

    times: Float[Tensor, "t r"]
    basis: Float[Tensor, "r k 7"]
    """Translation and (unnormalised) quaternion, wxyz."""

    @property
    def rank(self) -> int:
        return len(self.basis)

    @property
    def parameters(self) -> int:
        return self.times.numel() + self.basis.numel()


@torch.no_grad()
def raw_poses(space: MotionSpace, z: Float[Tensor, " d"], times: Float[Tensor, " t"]) -> Float[Tensor, "t k 7"]:
    """What the decoder says before its quaternions are made unit length, where they are not already."""
    decoder, latents = space.scene.decoder, z.expand(len(times), -1)
    if isinstance(decoder, LowRankDecoder):
        return decoder.offset + torch.einsum("tr,rkc->tkc", decoder.coordinates(times, latents), decoder.basis)
    found = space.scene.trajectory(latents, times)
    return torch.cat([found.translations, found.quats], -1)


@torch.no_grad()
def project(
    space: MotionSpace, z: Float[Tensor, " d"], times: Float[Tensor, " t"], found: RigidTransforms, rank: int
) -> tuple[Change, RigidTransforms]:
    """The change of this rank that brings the decoder closest to given transforms [t, k, ...], and what comes out.
    A turn counts by how far it moves the Gaussians that a key point carries."""
    raw = raw_poses(space, z, times)
    quats = found.quats.clone()
    for frame in range(len(quats)):  # the sign of the decoder's at first, then continuous
        near = raw[:1, :, 3:] if frame == 0 else quats[frame - 1 : frame]
        signs = torch.where((quats[frame] * near[0]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        quats[frame] = quats[frame] * signs
    target = torch.cat([found.translations, quats * raw[..., 3:].norm(dim=-1, keepdim=True)], -1)
    scene = space.scene
    lever = (scene.gaussians.means - scene.keypoints[scene.neighbours[:, 0]]).norm(dim=-1).median()
    weights = raw.new_ones(7)
    weights[3:] = 2 * lever.clamp(min=1e-3)
    u, s, vh = torch.linalg.svd(((target - raw) * weights).flatten(1), full_matrices=False)
    rank = min(rank, len(s))
    root = math.sqrt(len(times))
    basis = (s[:rank, None] * vh[:rank] / root).view(rank, *raw.shape[1:]) / weights
    change = Change(u[:, :rank] * root, basis)
    poses = raw + torch.einsum("tr,rkc->tkc", change.times, change.basis)
    return change, RigidTransforms(poses[..., :3], F.normalize(poses[..., 3:], dim=-1))


@torch.no_grad()
def fold(space: MotionSpace, z: Float[Tensor, " d"], change: Change, added: Motion) -> MotionSpace:
    """A space with one more motion, whose decoder makes these very poses at its frames, and between them nearly
    straight lines; all other motions are as they were. `added`: what is known of it.

    The new units of the trunk are ramps in time (first layer), sums of ramps that are cut to zero unless the last
    latent number is near 1 (second layer; SiLU(x) - SiLU(-x) = x), and their readout. For a LowRankDecoder only.
    """
    old, frames, rank = space.scene.decoder, len(change.times), change.rank
    assert isinstance(old, LowRankDecoder)
    layers = _linear(old)
    width, dim = layers[1].out_features, len(z)
    new = LowRankDecoder(old.basis.shape[1], dim + 1, old.basis.shape[0] + rank, width + max(frames + 2, 2 * rank))
    first, second, third = _linear(new)
    for layer in (first, second, third):
        layer.weight.zero_()
        layer.bias.zero_()
    inputs = layers[0].in_features
    first.weight[:width, :inputs], first.bias[:width] = layers[0].weight.cpu(), layers[0].bias.cpu()
    second.weight[:width, :width], second.bias[:width] = layers[1].weight.cpu(), layers[1].bias.cpu()
    third.weight[: len(old.basis), :width], third.bias[: len(old.basis)] = layers[2].weight.cpu(), layers[2].bias.cpu()

    # ramps: SiLU(k (p(t) - p_i)), p(t) = sin(pi t / 2) - cos(pi t / 2), which grows all along [0, 1]
    times = torch.arange(frames) / frames
    features = time_features(times, LowRankDecoder.TIME_FREQUENCIES).double()
    waves = LowRankDecoder.TIME_FREQUENCIES
    progress = features[:, 0] - features[:, waves]
    steepness = 4 / (progress.diff().mean() if frames > 1 else torch.tensor(1.0))
    ramps = slice(width, width + frames)
    first.weight[ramps, 0], first.weight[ramps, waves] = float(steepness), -float(steepness)
    first.bias[ramps] = (-steepness * progress).float()
    shapes = F.silu(steepness * (progress[:, None] - progress[None]))
    system = torch.cat([shapes[:, :-1], torch.ones(frames, 1).double()], 1)
    solved = torch.linalg.solve(system, change.times.double().cpu())
    slopes, levels = solved[:-1].float(), solved[-1].float()

    gate = width + frames  # two units that hand the last latent number on
    first.weight[gate, -1], first.weight[gate + 1, -1] = 1.0, -1.0
    largest = float(change.times.abs().max().clamp(min=1e-6))
    closed, sharp = 2 * largest, 30 / largest
    for sign, rows in ((1.0, slice(width, width + rank)), (-1.0, slice(width + rank, width + 2 * rank))):
        second.weight[rows, width : width + frames - 1] = sign * sharp * slopes.T
        second.weight[rows, gate], second.weight[rows, gate + 1] = sharp * closed, -sharp * closed
        second.bias[rows] = sharp * (sign * levels - closed)
        third.weight[len(old.basis) :, rows] = sign / sharp * torch.eye(rank)
    new.basis.data = torch.cat([old.basis.cpu(), change.basis.cpu()])
    new.offset.data = old.offset.detach().cpu().clone()

    scene, latents = space.scene, MotionLatents(len(space.mu) + 1, dim + 1)
    latents.mu.data = F.pad(torch.cat([scene.latents.mu.cpu(), z.cpu()[None]]), (0, 1))
    latents.mu.data[-1, -1] = 1
    logvar = scene.latents.logvar.detach().cpu()
    latents.logvar.data = F.pad(torch.cat([logvar, logvar.mean(0, keepdim=True)]), (0, 1), value=GATE_LOGVAR)
    gaussians, keypoints = deepcopy(scene.gaussians).cpu(), scene.keypoints.detach().cpu()
    copied = Scene(latents, new, keypoints, scene.log_radii.detach().cpu().exp(), gaussians, scene.skin)
    copied.log_radii.data = scene.log_radii.detach().cpu().clone()
    copied.neighbours = scene.neighbours.cpu().clone()
    info = replace(space.info, motions=(*space.motions, added))
    return MotionSpace(copied.to(space.device).eval(), info, space.source)


def _linear(decoder: LowRankDecoder) -> list[nn.Linear]:
    return [layer for layer in decoder.trunk if isinstance(layer, nn.Linear)]
