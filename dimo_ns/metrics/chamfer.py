"""Chamfer distances between the Gaussians and the true points of a moving object: CD-3D, CD-4D and CD-M, as ActionBench
defines them (Sabathier et al., ActionMesh, 2026).

The Chamfer distance of two sets of points is the mean distance from each point of one to the nearest of the other, plus
the same the other way round. The unit is half of the longest side of the box that holds the true points of a motion in
all its frames, as if they filled the cube [-1, 1]^3. Before they are compared, the Gaussians' centres are turned, moved
and stretched along their axes, as fits the truth best: in every frame by itself (CD-3D: shape alone), or as fits the
first frame (CD-4D: shape and course). For CD-M, points are paired in the first frame and stay so: where does each go?

Both are in the world of the dataset, so that the search for what fits begins where they are; ActionBench's begins in 24
orientations. The true points are few, and the distance to the nearest of them is not zero even from a perfect surface:
figures are comparable where they are of the same true points.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimo_ns.core.scene import Scene
from dimo_ns.core.types import Gaussians, RigidTransforms
from dimo_ns.data.dataset import Dataset
from dimo_ns.errors import DimoError
from dimo_ns.metrics.tracks import Truth

POINTS = 2048
"""How many Gaussians stand for the surface, at most."""
ALIGNING = 512
"""How many of them are aligned with the true points; the others follow."""
ROUNDS = 20
"""How often points are paired and fitted anew, to align them."""
FLAT = 1e-8
"""A variance below which points are all alike along an axis, which says nothing of their size."""


@dataclass(frozen=True)
class Chamfer:
    """Each in half of the longest side of the true points' box."""

    cd_3d: float
    cd_4d: float
    cd_m: float


def chamfers(dataset: Dataset, scene: Scene, motions: Mapping[str, RigidTransforms]) -> dict[str, Chamfer]:
    """The distances of each motion, given how the key points move in it, in all frames; empty for a dataset without
    true tracks. Raises DimoError if these are damaged."""
    truth = Truth.read(dataset)
    if truth is None:
        return {}
    found = {}
    for name, transforms in motions.items():
        with torch.no_grad():
            splats = scene.carry(transforms)
            means = splats.means[:, surface(splats)]
        found[name] = chamfer(means, truth.tracks[truth.motions.index(name)].to(means))
    return found


def chamfer(made: Float[Tensor, "t p 3"], true: Float[Tensor, "t q 3"]) -> Chamfer:
    """Of points that are followed over time and true ones. Raises DimoError if the latter are all in one place."""
    corner, other = true.amin((0, 1)), true.amax((0, 1))
    unit = float((other - corner).max()) / 2
    if not unit:
        raise DimoError("The true tracks of a motion are those of a single point at rest; expected points all over it.")
    made, true = ((points - (corner + other) / 2) / unit for points in (made, true))
    some = made[:, :ALIGNING]
    each, first = align(some, true)(made), align(some[:1], true[:1])(made)
    return Chamfer(distance(each, true), distance(first, true), distance(first, true, paired=first[:1]))


def surface(splats: Gaussians) -> Int[Tensor, " p"]:
    """Rows of Gaussians that stand for the surface, in random order: drawn by how much of it they cover, opacity times
    area."""
    area = splats.scales.topk(2).values.prod(-1)
    weights = (splats.opacities * area).double().cpu()
    rows = torch.multinomial(weights, min(POINTS, len(weights)), generator=torch.Generator().manual_seed(0))
    return rows.to(splats.means.device)


def distance(
    made: Float[Tensor, "t p 3"], true: Float[Tensor, "t q 3"], paired: Float[Tensor, "1 p 3"] | None = None
) -> float:
    """The mean over frames of their Chamfer distance; `paired`: where the made points are when they are paired with the
    true ones of the first frame, for all frames."""
    ahead, back = pairs(made, true) if paired is None else pairs(paired, true[:1])
    there = (made - take(true, ahead)).norm(dim=-1).mean()
    return float(there + (true - take(made, back)).norm(dim=-1).mean())


def pairs(a: Float[Tensor, "t p 3"], b: Float[Tensor, "t q 3"]) -> tuple[Int[Tensor, "t p"], Int[Tensor, "t q"]]:
    """The nearest point of b to each of a, and of a to each of b."""
    table = torch.cdist(a, b)
    return table.argmin(2), table.argmin(1)


def take(points: Float[Tensor, "t p 3"], rows: Int[Tensor, "#t q"]) -> Float[Tensor, "t q 3"]:
    return points.gather(1, rows[..., None].expand(len(points), -1, 3))


@dataclass(frozen=True)
class Fit:
    """x -> R (s x) + T, of one frame each, or of one for all."""

    stretch: Float[Tensor, "t 1 3"]
    turn: Float[Tensor, "t 3 3"]
    shift: Float[Tensor, "t 1 3"]

    def __call__(self, points: Float[Tensor, "_t p 3"]) -> Float[Tensor, "_t p 3"]:
        return (self.stretch * points) @ self.turn.mT + self.shift


def align(made: Float[Tensor, "t p 3"], true: Float[Tensor, "t q 3"]) -> Fit:
    """What brings made points near to the true ones, from where they are: the sum of the mean squared distances to the
    nearest, both ways, falls with every pairing and every fit (iterated closest points)."""
    ones = made.new_ones(len(made), 1, 3)
    found = Fit(ones, torch.eye(3).to(made).expand(len(made), 3, 3), torch.zeros_like(ones))
    shares = [made.new_full((count, 1), 0.5 / count) for count in (made.shape[1], true.shape[1])]
    for _ in range(ROUNDS):
        ahead, back = pairs(found(made), true)
        x, y = torch.cat([made, take(made, back)], 1), torch.cat([take(true, ahead), true], 1)
        found = fit(x, y, torch.cat(shares), found.stretch)
    return found


def fit(
    x: Float[Tensor, "t n 3"], y: Float[Tensor, "t n 3"], weights: Float[Tensor, "n 1"], stretch: Float[Tensor, "t 1 3"]
) -> Fit:
    """The rotation that brings stretched points to their partners (Kabsch), then the stretch that does with it."""
    middle, aim = (weights * x).sum(1, keepdim=True), (weights * y).sum(1, keepdim=True)
    x, y = x - middle, y - aim
    u, _, v = torch.linalg.svd((weights * y).mT @ (stretch * x))
    mirrored = torch.linalg.det(u @ v) < 0
    u = torch.where(mirrored[:, None, None] & (torch.arange(3, device=x.device) == 2), -u, u)
    turn = u @ v
    back = y @ turn  # R^T y, row by row
    variance = (weights * x.square()).sum(1, keepdim=True)
    stretch = torch.where(variance > FLAT, (weights * x * back).sum(1, keepdim=True) / variance, stretch)
    return Fit(stretch, turn, aim - (stretch * middle) @ turn.mT)
