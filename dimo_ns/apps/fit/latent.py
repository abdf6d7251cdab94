"""Which latent, the same for all frames, shows a motion best; the decoder is as it is.

Every training motion and draws around them are looked at small and seldom; the best few are improved by gradients,
small first, then at full size. What is returned is at least as good as the best training motion, in the views that were
seen.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimo_ns.apps.fit.observations import FULL, MIDDLE, SMALL, Observations, Say, spread
from dimo_ns.apps.fit.scores import scores
from dimo_ns.apps.latent_density import LatentDensity
from dimo_ns.core import losses
from dimo_ns.core.types import Gaussians
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.tracking.schedule import log_linear

CANDIDATES, STARTS, FINALISTS = 64, 6, 2
SMALL_STEPS, FULL_STEPS = 60, 80
SMALL_RATE, FULL_RATE = (0.1, 0.02), (0.02, 0.002)


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
        found = [
            few.loss(space.scene.pose(z.expand(len(frames), -1), few.times[frames]), frames, views) for z in candidates
        ]
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
    """Adam on all starts at once, on random frames and views. `exact`: the loss is `_exact_loss`, and not the
    robust one of the observations."""
    z = starts.clone().requires_grad_()
    optimizer, curve, count = torch.optim.Adam([z]), [], len(starts)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = log_linear(rate, step / steps)
        chosen = rng.permutation(len(seen.seen))[:frames_per_step]
        frames = seen.seen[torch.from_numpy(np.ascontiguousarray(chosen)).to(seen.device)]
        views, rows = seen.draw(rng, frames, 2).repeat(count, 1), frames.repeat(count)
        posed = space.scene.pose(z.repeat_interleave(len(frames), 0), seen.times[rows])
        loss = (_exact_loss if exact else Observations.loss)(seen, posed, rows, views)
        (grad,) = torch.autograd.grad(loss * count, z)
        z.grad = grad
        optimizer.step()
        curve.append(loss.item())
        say("fitting the latent", (step + 1) / steps)
    return z.detach(), curve


def _exact_loss(
    seen: Observations, posed: Gaussians, frames: Int[Tensor, " b"], views: Int[Tensor, "b c"]
) -> Float[Tensor, ""]:
    """The mean logarithm of each picture's squared error, as in PSNR."""
    rgba = seen.rgba(frames[:, None], views)
    target, _ = losses.composite(rgba, torch.ones(3, device=rgba.device))
    return ((seen.render(posed, views).over() - target).square().mean((2, 3, 4)) + 1e-5).log().mean()
