"""Which latent, the same for all frames, shows a motion best; the decoder is as it is.

Every training motion and draws around them are looked at small and seldom; the best few are improved by gradients,
small first, then at full size. What is returned is at least as good as the best training motion, in the views that were
seen.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.apps.fit.observations import BATCH, Observations, image_loss, render, spread
from dimo_ns.apps.latent_density import LatentDensity
from dimo_ns.core import losses
from dimo_ns.core.types import RigidTransforms
from dimo_ns.space.motion_space import MotionSpace

SMALL, MIDDLE, FULL = 64, 128, 512
CANDIDATES, STARTS, FINALISTS = 64, 6, 2
SMALL_STEPS, FULL_STEPS = 60, 80
SMALL_RATE, FULL_RATE = (0.1, 0.02), (0.02, 0.002)

Say = Callable[[str, float], None]
"""Told what is done, and how far it is, in [0, 1]."""


def fit_latent(
    space: MotionSpace, seen: Observations, seed: int, say: Say
) -> tuple[Float[Tensor, " d"], dict[str, list[float]]]:
    """The latent, and the losses of every step by stage."""
    rng, small = np.random.default_rng(seed), seen.at(SMALL)
    say("looking for a latent", 0.0)
    starts = _starts(space, small, seed)
    curves: dict[str, list[float]] = {}
    z, curves["latent, small"] = _improve(space, small, starts, SMALL_STEPS, SMALL_RATE, 5, rng, say)
    middle = seen.at(MIDDLE).some_views(4)
    finalists = z[scores(space, z, middle).argsort(descending=True)[:FINALISTS]]
    full = seen.at(FULL)
    z, curves["latent, full"] = _improve(space, full, finalists, FULL_STEPS, FULL_RATE, 8, rng, say, exact=True)
    known = torch.cat([z, finalists, space.mu])
    return known[scores(space, known, middle).argmax()].clone(), curves


@torch.no_grad()
def scores(space: MotionSpace, z: Float[Tensor, "n d"], seen: Observations) -> Float[Tensor, " n"]:
    """Mean PSNR of each latent over all frames that were seen, in dB."""
    return torch.stack([observed_psnr(space, space.motion(row[None], seen.times)[0], seen) for row in z])


@torch.no_grad()
def observed_psnr(space: MotionSpace, transforms: RigidTransforms, seen: Observations) -> Float[Tensor, ""]:
    """Mean PSNR over white of key point transforms [t, k, ...] over all frames that were seen, in dB."""
    return observed(space, transforms, seen)[0]


@torch.no_grad()
def observed(
    space: MotionSpace, transforms: RigidTransforms, seen: Observations
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """`observed_psnr`, and the mean over frames of the overlap of the silhouettes: intersection over union."""
    decibels, overlaps = [], []
    views = torch.arange(len(seen.views), device=seen.device)
    for frames in seen.seen.split(BATCH):
        chosen = views.expand(len(frames), -1)
        image, alpha = render(space.scene.carry(transforms[frames]), seen, chosen)
        rgba = seen.rgba(frames[:, None], chosen)
        target, mask = losses.composite(rgba, torch.ones(3, device=rgba.device))
        there = seen.exist[frames]
        error = (image.clamp(0, 1) - target).square().mean((2, 3, 4))[there]
        decibels.append(-10 * torch.log10(error.clamp(min=1e-10)))
        ours, true = alpha > 0.5, mask > 0.5
        union = (ours | true).sum((2, 3, 4)).clamp(min=1)
        overlaps.append(((ours & true).sum((2, 3, 4)) / union)[there])
    return torch.cat(decibels).mean(), torch.cat(overlaps).mean()


def _starts(space: MotionSpace, small: Observations, seed: int) -> Float[Tensor, "s d"]:
    """The best of the training motions and of draws around them, by few frames and views."""
    generator = torch.Generator().manual_seed(seed)
    density = LatentDensity.fit(space.mu, space.scene.latents.logvar.detach())
    drawn = density.sample(max(1, CANDIDATES - len(space.mu)), generator).to(space.device)
    candidates = torch.cat([space.mu, drawn])
    few = small.some_views(3)
    frames = few.seen[spread(len(few.seen), 5).to(few.device)]
    views = few.draw(np.random.default_rng(seed), frames, min(3, len(few.views)))
    with torch.no_grad():
        rgba = few.rgba(frames[:, None], views)
        found = [image_loss(*render(space.scene.pose(z.expand(len(frames), -1), few.times[frames]), few, views), rgba)
                 for z in candidates]  # fmt: skip
    return candidates[torch.stack(found).argsort()[:STARTS]]


def _improve(
    space: MotionSpace,
    seen: Observations,
    starts: Float[Tensor, "s d"],
    steps: int,
    rate: tuple[float, float],
    frames_per_step: int,
    rng: np.random.Generator,
    say: Say,
    exact: bool = False,
) -> tuple[Float[Tensor, "s d"], list[float]]:
    """Adam on all starts at once, on random frames and views. `exact`: the loss is the logarithm of each picture's
    squared error, as in PSNR, and not the robust one."""
    z = starts.clone().requires_grad_()
    optimizer, curve, count = torch.optim.Adam([z]), [], len(starts)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate[0] * (rate[1] / rate[0]) ** (step / steps)
        chosen = rng.permutation(len(seen.seen))[:frames_per_step]
        frames = seen.seen[torch.from_numpy(np.ascontiguousarray(chosen)).to(seen.device)]
        views = seen.draw(rng, frames, 2).repeat(count, 1)
        rgba = seen.rgba(frames.repeat(count)[:, None], views)
        posed = space.scene.pose(z.repeat_interleave(len(frames), 0), seen.times[frames].repeat(count))
        image, alpha = render(posed, seen, views)
        if exact:
            target, _ = losses.composite(rgba, torch.ones(3, device=rgba.device))
            loss = ((image - target).square().mean((2, 3, 4)) + 1e-5).log().mean()
        else:
            loss = image_loss(image, alpha, rgba)
        (grad,) = torch.autograd.grad(loss * count, z)
        z.grad = grad
        optimizer.step()
        curve.append(loss.item())
        say("fitting the latent", (step + 1) / steps)
    return z.detach(), curve
