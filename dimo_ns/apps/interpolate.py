"""Between motions: paths through latent space, clips that pass from one motion to the next, clips that loop.

Straight paths are even as they are: between any two training motions of the scenes measured (docs/space.md), no step is
longer than 1.5 times the mean step. So paths are not reparametrised.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimo_ns.core.types import RigidTransforms
from dimo_ns.errors import DimoError, check_number
from dimo_ns.space.choosing import chosen_latent, find_latent
from dimo_ns.space.motion_space import Clip, MotionSpace

BATCH = 16
MOST_STEPS, MOST_FRAMES = 2000, 20_000
"""Of a whole path, each a motion, and of one clip."""
TOO_FEW = "Something lies between two motions or more; name at least two."


@dataclass(frozen=True)
class Smoothness:
    """How evenly motions change along a path of latents. Steps are mean distances of the key points over all frames, as
    in `MotionSpace.distances`; a straight blend of the trajectories has largest_step 1, acceleration 0 and length 1."""

    largest_step: float
    """Over the mean step."""
    acceleration: float
    """Mean length of the second difference along the path, over the step of the straight blend."""
    length: float
    """Sum of the steps, over the distance between the ends."""


def chosen(space: MotionSpace, motions: Sequence[str]) -> tuple[list[str], Float[Tensor, "n d"]]:
    """The names and latents of two motions or more, each a motion of the space or FILE:ROW (`find_latent`). Raises
    DimoError."""
    if len(motions) < 2:
        raise DimoError(TOO_FEW)
    names, rows = zip(*(find_latent(space, text) for text in motions), strict=True)
    return list(names), torch.stack(rows)


def latent_path(
    space: MotionSpace, latents: Float[Tensor, "n d"], steps: int, spherical: bool = False
) -> Float[Tensor, "p d"]:
    """A path through these latents in their order, in `steps` steps from each to the next: (n - 1) steps + 1 rows, of
    which every `steps`-th is one of the given ones, bit for bit.

    Linear, or spherical about the origin (Shoemake 1985; lengths change linearly). Raises DimoError for fewer than two
    latents, latents of another size, or steps out of bounds.
    """
    latents = check_several(space, latents)
    check_number("The number of steps from one motion to the next", steps, 1, MOST_STEPS // (len(latents) - 1))
    share = torch.arange(steps, device=space.device)[:, None] / steps
    between = slerp if spherical else torch.lerp
    path = torch.cat([*(between(a, b, share) for a, b in pairwise(latents)), latents[-1:]])
    path[::steps] = latents
    return path


def blends(
    space: MotionSpace, path: Float[Tensor, "p d"], names: Sequence[str]
) -> tuple[list[Clip], dict[str, dict[str, Any]]]:
    """A clip for every row of a path between motions of these names, and what is known of each, by its name."""
    steps, digits = (len(path) - 1) // (len(names) - 1), len(str(len(path) - 1))
    clips, about = [], {}
    for i, z in enumerate(path):
        pair, share = names[i // steps : i // steps + 2], i % steps
        label = f"{pair[0]}-{pair[1]}_{share}of{steps}" if share else pair[0]
        clips.append(space.clip(f"{i:0{digits}d}_{label}", z))
        about[clips[-1].name] = {"motions": list(pair if share else pair[:1]), "share": share / steps}
    return clips, about


def slerp(a: Float[Tensor, " d"], b: Float[Tensor, " d"], share: Float[Tensor, "s 1"]) -> Float[Tensor, "s d"]:
    """From a to b along a great circle; straight where there is none, or more than one."""
    lengths = a.norm(), b.norm()
    u, v = F.normalize(a, dim=0), F.normalize(b, dim=0)
    angle = 2 * torch.atan2((u - v).norm(), (u + v).norm())
    if min(lengths) == 0 or angle.sin() < 1e-6:
        return torch.lerp(a, b, share)
    direction = (torch.sin((1 - share) * angle) * u + torch.sin(share * angle) * v) / angle.sin()
    return torch.lerp(*lengths, share) * direction


def transition(space: MotionSpace, latents: Float[Tensor, "n d"], frames: int | None = None) -> Clip:
    """One clip through these motions: it starts in the first and ends in the last, smooth in time.

    Each passage from one to the next goes through the decoder's time once while the latent moves from one to the other;
    the same motion twice plays it once as it is. Where time starts again, the next passage carries on from where the
    one before ended (`joined`). By default a passage takes as many frames as a motion has. Raises DimoError for fewer
    than two latents, latents of another size, or frames that are less than two a passage or far too many.
    """
    latents = check_several(space, latents)
    passages = len(latents) - 1
    frames = passages * space.frames if frames is None else frames
    check_number(f"The number of frames for {len(latents)} motions", frames, 2 * passages, MOST_FRAMES)
    path, parts = [], []
    for i in range(passages):
        count = frames * (i + 1) // passages - frames * i // passages
        share = smoothstep(torch.arange(count, device=space.device) / (count - 1))
        z = torch.lerp(latents[i], latents[i + 1], share[:, None])
        z[0], z[-1] = latents[i], latents[i + 1]
        with torch.no_grad():
            part = space.scene.trajectory(z, torch.arange(count, device=space.device) / count)
        parts.append(joined(parts[-1], part) if parts else part)
        path.append(z)
    transforms = RigidTransforms(torch.cat([p.translations for p in parts]), torch.cat([p.quats for p in parts]))
    return Clip("transition", space.scene.keypoints.detach(), transforms, space.fps, torch.cat(path))


def passage(space: MotionSpace, texts: Sequence[str] = ()) -> Clip:
    """One clip that passes from each of these (`chosen_latent`, or all motions) to the next. Raises DimoError."""
    latents = [chosen_latent(space, text)[1] for text in texts or space.names]
    return transition(space, torch.stack(latents))


def looped(clip: Clip) -> Clip:
    """The clip with its end flowing into its start: unless it does so already, its first half is changed so that it
    carries on from its end (`joined`)."""
    return replace(clip, transforms=joined(clip.transforms, clip.transforms), loop=True)


def joined(before: RigidTransforms, after: RigidTransforms) -> RigidTransforms:
    """`after` [t, k, ...], its first half moved so that it carries on from the last frame of `before` (inertialisation,
    Bollo 2018): what is missing at its first frame is added, and fades away.

    The step from `before` to `after` is then the mean of the last step of the one and the first of the other. Where the
    change of speed from one to the other is no larger than within them, `after` is returned as it is.
    """
    inside = [roughness(x.translations) for x in (before, after)]
    seam = roughness(torch.cat([before.translations[-2:], after.translations[:2]]))
    if len(seam) and len(inside[0]) and seam.max() <= torch.cat(inside).max():
        return after
    half = max(1, len(after.quats) // 2)
    fading = 1 - smoothstep(torch.arange(len(after.quats), device=after.quats.device) / half)

    def carried(last: Tensor, x: Tensor) -> Tensor:
        steps = [pair[1:] - pair[:-1] for pair in (last[-2:], x[:2]) if len(pair) > 1]
        missing = last[-1:] + sum(steps) / 2 - x[:1]
        return x + fading[:, None, None] * missing

    agree = (before.quats[-1:] * after.quats[:1]).sum(-1, keepdim=True)
    signed = before.quats * torch.where(agree < 0, -1.0, 1.0)
    quats = F.normalize(carried(signed, after.quats), dim=-1)
    return RigidTransforms(carried(before.translations, after.translations), quats)


def roughness(translations: Float[Tensor, "t k 3"]) -> Float[Tensor, " s"]:
    """How far each step but the first and the last is from the mean of its two neighbours, over the key points."""
    steps = translations.diff(dim=0)
    return ((steps[2:] + steps[:-2]) / 2 - steps[1:-1]).norm(dim=-1).mean(-1)


def smoothness(space: MotionSpace, path: Float[Tensor, "p d"]) -> Smoothness:
    """Measures a path of at least two latents between two motions. Raises DimoError."""
    path = check_several(space, path)
    positions = torch.cat([space.positions(part) for part in path.split(BATCH)])
    steps = positions.diff(dim=0)
    lengths = steps.norm(dim=-1).mean((1, 2))
    straight = float((positions[-1] - positions[0]).norm(dim=-1).mean())
    bends = steps.diff(dim=0).norm(dim=-1)
    return Smoothness(
        float(lengths.max() / lengths.mean().clamp(min=1e-12)),
        float(bends.mean()) * len(steps) / max(straight, 1e-12) if len(bends) else 0.0,
        float(lengths.sum()) / max(straight, 1e-12),
    )


def smoothstep(x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """From 0 at x <= 0 to 1 at x >= 1, at rest at both ends."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def check_several(space: MotionSpace, latents: Tensor) -> Float[Tensor, "n d"]:
    """At least two rows of the space. Raises DimoError."""
    rows = space.check_latents(latents)
    if len(rows) < 2:
        raise DimoError(TOO_FEW)
    return rows
