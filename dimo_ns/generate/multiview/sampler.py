"""From noise to latents: Euler steps down the noise levels of Karras et al. (arXiv 2206.00364), with guidance.

The network predicts v (Salimans & Ho, arXiv 2202.00512). How strongly the condition is followed differs by frame and
view; the weights are those of the published model's scripts.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 700.0, 7.0

Network = Callable[[Tensor, Tensor], Tensor]
"""(scaled noisy latents [t, v, l, h, w], c_noise []) -> v [t, v, l, h, w]."""


def noise_levels(steps: int) -> Float[Tensor, " s"]:
    """The standard deviations of the noise, steps + 1 of them, from SIGMA_MAX down to SIGMA_MIN, then 0; float64."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    return torch.cat([(high + ramp * (low - high)) ** RHO, torch.zeros(1, dtype=torch.float64)])


def denoise(network: Network, x: Float[Tensor, "*s"], sigma: float) -> Float[Tensor, "*s"]:
    """The expected clean latents: D(x) = c_in^2 x - sigma c_in F(c_in x, ln(sigma) / 4), c_in^2 = 1 / (1 + sigma^2)."""
    c_in = (1 + sigma**2) ** -0.5
    c_noise = torch.tensor(0.25 * math.log(sigma), device=x.device, dtype=x.dtype)
    return c_in**2 * x - sigma * c_in * network(c_in * x, c_noise)


def sample(
    denoised: Callable[[Tensor, float], Tensor],
    noise: Float[Tensor, "*s"],
    steps: int,
    after_step: Callable[[], None] | None = None,
) -> Float[Tensor, "*s"]:
    """Follows dx / dsigma = (x - D(x; sigma)) / sigma from `noise`, of standard deviation 1, to sigma = 0."""
    levels = noise_levels(steps).tolist()
    x = noise * math.sqrt(1 + levels[0] ** 2)
    for sigma, lower in pairwise(levels):
        x = x + (lower - sigma) / sigma * (x - denoised(x, sigma))
        if after_step:
            after_step()
    return x


def linear_guidance(frames: int, views: int) -> Float[Tensor, "t v"]:
    """Guidance that rises from 1 to 2 along the sequence of all images, frame by frame, view by view: the model of four
    views."""
    return torch.linspace(1, 2, frames * views).view(frames, views)


def ramp_and_triangle_guidance(frames: int, views: int) -> Float[Tensor, "t v"]:
    """Guidance from 1.5 to 2.5, half of it a ramp over the frames and half a triangle over the views: the model of
    eight."""
    ramp = torch.linspace(0, 1, frames)
    triangle = 1 - (2 * torch.linspace(0, 1, views) - 1).abs()
    return 1.5 + 0.5 * ramp[:, None] + 0.5 * triangle[None]
