"""From coarse to fine: how far gradients are smoothed, how fast rates fall, which frames are smooth together."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

TRACK_SMOOTHING = (50.0, 12.0, 3.0, 0.7)
"""Strengths of diffusion while a frame is found from its parent in the tree, in equal parts of its steps."""
REFINE_SMOOTHING = 0.5
"""Strength of diffusion while all frames are improved together."""
ACCELERATION = 0.005
"""Weight of the second difference in time, in units of the graph's mean squared edge length."""


def log_linear(ends: tuple[float, float], fraction: float) -> float:
    """What is a fraction of the way from the first end to the second by equal ratios; both are positive."""
    return ends[0] * (ends[1] / ends[0]) ** fraction


def level(levels: Sequence[float], fraction: float) -> float:
    """The one of the levels that is in force when a fraction in [0, 1) of the steps is done; each has an equal part."""
    return levels[int(fraction * len(levels))]


def around(frames: Int[Tensor, " b"], count: int) -> Int[Tensor, "b 3"]:
    """Three frames in a row of a motion of `count`, with each of these in their middle where it is not an end."""
    middle = frames.clamp(1, max(1, count - 2))
    return (middle[:, None] + torch.arange(-1, 2, device=frames.device)).clamp(0, count - 1)
