"""Where the object of a video stands, how it is turned and how large it is, compared with the scene's.

Found on the first frame that was seen, against the first poses of the training motions: turns about the vertical are
tried all around, place and size come from the silhouettes, then all three are improved by gradients.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimo_ns.apps.fit.observations import MIDDLE, SMALL, Observations, Say, spread
from dimo_ns.core.cameras import Cameras
from dimo_ns.core.geometry import quat_multiply, quat_to_matrix
from dimo_ns.core.types import Gaussians
from dimo_ns.data.dataset import View
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.tracking.schedule import log_linear
from dimo_ns.tracking.tree import silhouette_centres, triangulate

TURNS, POSES, STARTS = 12, 8, 3
STEPS, RATE = 100, (0.03, 0.001)


@dataclass(eq=False)
class Similarity:
    """From the scene's frame to the video's: x -> scale R(quat) x + translation."""

    scale: float
    quat: Float[Tensor, "4"]
    translation: Float[Tensor, "3"]

    def cameras(self, cameras: Cameras) -> Cameras:
        """Cameras [v] of the video as seen from the scene; the pictures stay the same."""
        viewmats = cameras.viewmats.clone()
        rotations = cameras.viewmats[:, :3, :3]
        viewmats[:, :3, :3] = rotations @ quat_to_matrix(self.quat)
        viewmats[:, :3, 3] = (rotations @ self.translation + cameras.viewmats[:, :3, 3]) / self.scale
        return replace(cameras, viewmats=viewmats)

    def view(self, view: View) -> View:
        """The same for a camera of a dataset."""
        rotation = quat_to_matrix(self.quat).double().cpu().numpy()
        c2w = np.eye(4)
        c2w[:3, :3] = rotation.T @ view.c2w[:3, :3]
        c2w[:3, 3] = rotation.T @ (view.c2w[:3, 3] - self.translation.double().cpu().numpy()) / self.scale
        return replace(view, c2w=c2w)


def moved(posed: Gaussians, scale: Tensor, quats: Float[Tensor, "b 4"], translations: Float[Tensor, "b 3"]):
    """Posed Gaussians [b, n, ...], each under its own turn and shift and all under one size."""
    means = scale * (posed.means @ quat_to_matrix(quats).mT) + translations[:, None]
    return Gaussians(
        means, quat_multiply(quats[:, None], posed.quats), scale * posed.scales, posed.opacities, posed.colors
    )


def align(space: MotionSpace, seen: Observations, say: Say) -> Similarity:
    """The similarity that brings the scene onto the first frame that was seen."""
    first = int(seen.seen[0])
    only = seen.of(seen.exist[first].nonzero()[:, 0], slice(first, first + 1))
    say("aligning", 0.0)
    z = space.mu[spread(len(space.mu), POSES).to(space.device)]
    with torch.no_grad():
        posed = space.scene.pose(z, seen.times[first].expand(len(z)))
    best, lowest = None, float("inf")
    for row, start in _starts(posed, only.at(SMALL).some_views(6)):
        found, loss = _improve(one(posed, row), start, only.at(MIDDLE).some_views(6), say)
        if loss < lowest:
            best, lowest = found, loss
    assert best is not None
    return best


def one(posed: Gaussians, row: int) -> Gaussians:
    return replace(posed, means=posed.means[row : row + 1], quats=posed.quats[row : row + 1])


@torch.no_grad()
def _starts(posed: Gaussians, seen: Observations) -> list[tuple[int, Similarity]]:
    """The best few of all poses and turns: which pose, and its rough similarity."""
    device, cameras = seen.device, seen.cameras
    frame, views = torch.zeros(1, dtype=torch.long, device=device), torch.arange(len(cameras), device=device)[None]
    masks = seen.rgba(frame[:, None], views)[..., 3]
    weights = torch.ones(1, len(cameras), device=device)
    centre = triangulate(silhouette_centres(masks), cameras.viewmats, cameras.Ks, weights)[0]
    area = masks.sum((2, 3))
    half = torch.arange(TURNS, device=device) * (torch.pi / TURNS)
    quats = F.pad(half.cos()[:, None], (0, 3)) + F.pad(half.sin()[:, None], (3, 0))
    tried: list[tuple[float, int, Similarity]] = []
    for row in range(len(posed.means)):
        middle = (posed.means[row] * posed.opacities[:, None]).sum(0) / posed.opacities.sum()
        for turn in quats:
            scale = torch.ones((), device=device)
            for _ in range(2):  # the second time at the size that the first one found
                shift = centre - scale * quat_to_matrix(turn) @ middle
                alpha = seen.render(moved(one(posed, row), scale, turn[None], shift[None]), views).alpha
                ratio = (area / alpha.sum((2, 3, 4)).clamp(min=1)).sqrt().mean()
                scale = scale * ratio.clamp(0.2, 5.0)
            shift = centre - scale * quat_to_matrix(turn) @ middle
            loss = seen.loss(moved(one(posed, row), scale, turn[None], shift[None]), frame, views)
            tried.append((float(loss), row, Similarity(float(scale), turn, shift)))
    tried.sort(key=lambda entry: entry[0])
    return [(row, start) for _, row, start in tried[:STARTS]]


def _improve(posed: Gaussians, start: Similarity, seen: Observations, say: Say) -> tuple[Similarity, float]:
    log_scale = torch.tensor(start.scale, device=seen.device).log().requires_grad_()
    quat, shift = start.quat.clone().requires_grad_(), start.translation.clone().requires_grad_()
    optimizer = torch.optim.Adam([log_scale, quat, shift])
    frame = torch.zeros(1, dtype=torch.long, device=seen.device)
    views = torch.arange(len(seen.views), device=seen.device)[None]
    loss = torch.zeros(())
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = log_linear(RATE, step / STEPS)
        unit = F.normalize(quat, dim=0)
        loss = seen.loss(moved(posed, log_scale.exp(), unit[None], shift[None]), frame, views)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        say("aligning", (step + 1) / STEPS)
    found = Similarity(log_scale.exp().item(), F.normalize(quat.detach(), dim=0), shift.detach())
    return found, loss.item()
