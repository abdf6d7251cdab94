"""Cameras that show all of the places where an object goes, as large as fits."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.core.cameras import Cameras, intrinsics, project
from dimo_ns.core.scene import Scene
from dimo_ns.core.types import RigidTransforms

POINTS, CAMERAS = 4000, 12
"""How many points are looked at, from about how many of the cameras."""
MARGIN = 0.88
"""The share of the image, along one side, that the points fill."""


@torch.no_grad()
def visited(scene: Scene, motions: Iterable[RigidTransforms]) -> Float[Tensor, "b n 3"]:
    """Where the opaque Gaussians are in all frames of these motions, each given by its key points' transforms."""
    opaque = torch.sigmoid(scene.gaussians.logit_opacities) > 0.3
    return torch.cat([scene.carry(transforms).means[:, opaque] for transforms in motions]).cpu()


def extent(points: Float[Tensor, "*b n 3"], viewmats: Float[Tensor, "c 4 4"]) -> Float[Tensor, "2 2"]:
    """Lowest and highest x and y of these points in all poses and over all cameras of focal length 1; in each, but for
    the few farthest ones."""
    poses = points.reshape(-1, *points.shape[-2:])
    chosen = torch.randperm(poses.shape[1], generator=torch.Generator().manual_seed(0))[:POINTS]
    bounds = []
    for viewmat in viewmats:
        xy = project(poses[:, chosen], viewmat, torch.eye(3))[..., :2]
        bounds.append(torch.quantile(xy, torch.tensor([0.001, 0.999]), dim=1))
    low, high = torch.cat(bounds, 1)
    return torch.stack([low.amin(0), high.amax(0)])


def fitting_size(points: Float[Tensor, "*b n 3"], cameras: Cameras) -> tuple[int, int]:
    """Height and width of images as wide as those of these cameras [c], whose height, an even number, suits what the
    points take there: neither very flat nor very high."""
    low, high = extent(points, cameras.viewmats)
    x, y = (high - low).clamp(min=1e-3).tolist()
    width = cameras.size[1]
    return 2 * round(width * min(max(y / x, 0.6), 1.2) / 2), width


def zoomed(points: Float[Tensor, "*b n 3"], cameras: Cameras, centred: bool = False) -> Cameras:
    """The cameras [c], with the same intrinsics for all with which these points fill their images but for a margin.

    `centred`: the principal point stays in the middle.
    """
    h, w = cameras.size
    low, high = extent(points, cameras.viewmats[:: max(1, len(cameras) // CAMERAS)])
    if centred:
        high = torch.maximum(high.abs(), low.abs())
        low = -high
    spread, middle = (high - low).clamp(min=1e-3), (high + low) / 2
    length = MARGIN * torch.minimum(w / spread[0], h / spread[1])
    K = intrinsics(length, length, w / 2 - length * middle[0], h / 2 - length * middle[1])
    return replace(cameras, Ks=K.expand(len(cameras), 3, 3))
