"""New motions: latents drawn from a density of those of training, decoded, and kept if the object holds together."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.apps.latent_density import LatentDensity
from dimo_ns.core.geometry import nearest_neighbours
from dimo_ns.core.losses import arap
from dimo_ns.errors import MOST_SEED, DimoError, check_number
from dimo_ns.space.motion_space import Clip, MotionSpace

MOST_SAMPLES = 2000
"""At once: their trajectories take 300 kB each in a scene of the paper's size."""
NEIGHBOURS = 8
MOST_STRAIN = 1.5
"""A draw is kept if its strain is at most so many times that of the training motion with the most."""
LEAST_STRAIN = 1e-6
"""Taken as the training motions' where theirs is less: a thousandth of an edge's length."""
COPY = 0.25
"""A sample that is closer to a training motion than this share of the mean distance between two is called a copy."""
MAX_TRIES, BATCH = 100, 16
PAIRED = 64
"""So many samples at most are compared with each other."""


@dataclass(eq=False)
class Samples:
    """Draws that were kept, and what is known of each."""

    latents: Float[Tensor, "n d"]
    clips: list[Clip]
    nearest: list[str]
    """The training motion with the most similar trajectories."""
    distances: Float[Tensor, " n"]
    """To it: mean distance of the key points, as a share of the diameter."""
    log_density: Float[Tensor, " n"]
    """Under the density that was drawn from (at temperature 1), in nats."""
    strain: Float[Tensor, " n"]
    """ARAP residual, over that of the training motion with the most."""
    rejected: list[int]
    """How many draws came before each one that were not kept."""

    def about(self) -> dict[str, dict[str, Any]]:
        """What is known of each, by the name of its clip."""
        columns = {
            "nearest": self.nearest,
            "distance": self.distances.tolist(),
            "log_density": self.log_density.tolist(),
            "strain": self.strain.tolist(),
            "rejected": self.rejected,
        }
        return {
            clip.name: dict(zip(columns, row, strict=True))
            for clip, *row in zip(self.clips, *columns.values(), strict=True)
        }


@dataclass(frozen=True)
class Quality:
    """What samples are worth as a set. Distances are those of `MotionSpace.distances`."""

    coverage: float
    """Share of the training motions that have a sample closer than their nearest other training motion (Naeem et al.
    2020, with one neighbour)."""
    copies: float
    """Share of the samples that are closer to a training motion than `COPY` times the mean distance between two."""
    trained_copies: float
    """The same of the training motions, each against the others."""
    diversity: float
    """Mean distance between two samples, over that between two training motions."""


def draw_samples(space: MotionSpace, n: int, seed: int = 0, temperature: float = 1.0, prior: bool = False) -> Samples:
    """Draws `n` motions from a density fitted to the posteriors of training, or from the prior N(0, I).

    A draw is kept if it is like what the decoder was trained on in what comes out: its strain is at most `MOST_STRAIN`
    times that of the training motion with the most, and it is no farther from the nearest training motion than any of
    those is from its nearest other one. Draw i depends on `seed` and i alone. Raises DimoError for
    numbers out of bounds, or if hardly any draw is kept.
    """
    check_number("The seed", seed, 0, MOST_SEED)
    check_number("The number of motions", n, 1, MOST_SAMPLES)
    if not (math.isfinite(temperature) and temperature > 0):
        raise DimoError(f"The temperature is {temperature}; expected a positive number, 1 for the density as fitted.")
    posteriors = space.scene.latents
    density = LatentDensity.prior(space.mu.shape[1]) if prior else LatentDensity.fit(posteriors.mu, posteriors.logvar)
    generators = [generator_of(seed, i) for i in range(n)]
    trained_strains, between = examine(space, space.mu)
    most_strain = max(float(trained_strains.max()), LEAST_STRAIN)
    farthest = float(isolation(between).max())
    latents = torch.empty(n, space.mu.shape[1], device=space.device)
    strains, distances, indices = torch.empty(n), torch.empty(n), torch.empty(n, dtype=torch.long)
    rejected, pending = [0] * n, list(range(n))
    for _ in range(MAX_TRIES):
        z = torch.cat([density.sample(1, generators[i], temperature) for i in pending]).to(space.device)
        found, to_trained = examine(space, z)
        latents[pending], strains[pending] = z, found.cpu() / most_strain
        distances[pending], indices[pending] = (near.cpu() for near in to_trained.min(1))
        pending = [i for i in pending if not (strains[i] <= MOST_STRAIN and distances[i] <= farthest)]
        if not pending:
            break
        for i in pending:
            rejected[i] += 1
    else:
        raise DimoError(
            f"For {len(pending)} of {n} motions, {MAX_TRIES} draws at temperature {temperature} were all unlike what "
            "the scene was trained on; choose a lower temperature."
        )
    return Samples(
        latents,
        [space.clip(f"sample_{i:03d}", z) for i, z in enumerate(latents)],
        [space.names[i] for i in indices],
        distances,
        density.log_prob(latents),
        strains,
        rejected,
    )


def quality(space: MotionSpace, samples: Samples) -> Quality:
    """Compares samples with the motions of training, of which the scene has at least two."""
    positions = torch.stack([clip.positions for clip in samples.clips])
    between = space.distances(space.trained_positions, space.trained_positions)
    apart, alone = mean_apart(between), isolation(between)
    to_trained = space.distances(space.trained_positions, positions)
    first = positions[:PAIRED]
    return Quality(
        coverage=float((to_trained.min(1).values < alone).float().mean()),
        copies=float((samples.distances < COPY * apart).float().mean()),
        trained_copies=float((alone < COPY * apart).float().mean()),
        diversity=mean_apart(space.distances(first, first)) / max(apart, 1e-12),
    )


def generator_of(seed: int, index: int) -> torch.Generator:
    """The generator of one draw, independent of those of other seeds and indices."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1)[0]))


@torch.no_grad()
def examine(space: MotionSpace, z: Float[Tensor, "n d"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n m"]]:
    """The strain of each motion, and its distance to each motion of training.

    Strain is the ARAP residual, its mean over frames and edges to the nearest key points, over the mean squared length
    of these edges.
    """
    keypoints = space.scene.keypoints.detach()
    neighbours = nearest_neighbours(keypoints, min(NEIGHBOURS, len(keypoints) - 1))
    lengths = (keypoints[neighbours] - keypoints[:, None]).square().sum(-1)
    strains, distances = [], []
    for part in z.split(BATCH):
        transforms = space.motion(part)
        residuals = arap(keypoints, neighbours, transforms)
        strains.append(residuals.sum((2, 3)).mean(1) / lengths.sum().clamp(min=1e-12))
        distances.append(space.distances(keypoints + transforms.translations, space.trained_positions))
    return torch.cat(strains), torch.cat(distances)


def isolation(between: Float[Tensor, "m m"]) -> Float[Tensor, " m"]:
    """Distance of each motion to its nearest other one; infinite where there is none."""
    return between.clone().fill_diagonal_(math.inf).min(1).values


def mean_apart(between: Float[Tensor, "n n"]) -> float:
    """Mean distance between two different ones."""
    return float(between.fill_diagonal_(0).sum() / max(1, len(between) * (len(between) - 1)))
