"""Motions outside the space, found as explicit key point transforms.

Every frame starts from the most similar pose that the scene was trained on, or from a similar frame that is
done already, whichever is nearer (a spanning tree, as in training). It moves by gradients that are diffused over the
key point graph, and keeps the edges of the training pose that it came from as they are: more so the fewer views there
are.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dimo_ns.apps.fit.observations import BATCH, FULL, MIDDLE, SMALL, Observations, Say, spread
from dimo_ns.core import losses
from dimo_ns.core.cameras import orbit
from dimo_ns.core.geometry import quat_to_matrix
from dimo_ns.core.types import RigidTransforms
from dimo_ns.rasterize.render import render
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.tracking.frame_adam import FrameAdam
from dimo_ns.tracking.graph import KeypointGraph, connect, smoothed
from dimo_ns.tracking.schedule import ACCELERATION, REFINE_SMOOTHING, TRACK_SMOOTHING, around, level, log_linear
from dimo_ns.tracking.tree import THUMBNAIL, frame_distances, silhouette_centres, spanning_tree, triangulate

NEIGHBOURS = 8
MAX_POSES, GALLERY_VIEWS = 512, 4
FAR_POSE = 1.3
"""A training pose is taken if it looks so many times nearer than the next frame: chains of frames are continuous."""
TRACK_RATE, REFINE_RATE, TURN = (0.02, 0.006), (2e-3, 2e-4), 3.0
"""Learning rates of translations; of quaternions `TURN` times as much."""
TRACK_STEPS, TRACK_STEPS_FEW, REFINE_STEPS = 40, 100, 200
FEW_VIEWS = 2
RIGID, RIGID_LEAST = 4.0, 0.05


@torch.no_grad()
def keypoint_graph(space: MotionSpace) -> KeypointGraph:
    """Connects key points that can be reached through the object at rest."""
    scene = space.scene
    azimuths, elevations = (
        angles.flatten() for angles in torch.meshgrid(torch.arange(12.0) * 30, torch.tensor([0.0, 30.0]), indexing="xy")
    )
    cameras = orbit(azimuths, elevations, (256, 256)).to(space.device)
    alpha = render(scene.gaussians(), cameras).alpha
    count = min(NEIGHBOURS, len(scene.keypoints) - 1)
    return KeypointGraph(connect(scene.keypoints.detach(), alpha[..., 0], cameras.viewmats, cameras.Ks, count))


class Tracker:
    """Explicit transforms of all frames of a motion, while they are found."""

    def __init__(self, space: MotionSpace, seen: Observations, seed: int):
        self.space, self.seen, self.rng = space, seen, np.random.default_rng(seed)
        self.graph = keypoint_graph(space)
        self.rest = space.scene.keypoints.detach()
        self.unit = self.graph.edge_length_squared(self.rest)
        count = len(seen.images)
        poses = RigidTransforms.identity(1, count, len(self.rest), device=space.device)
        self.translations = poses.translations.requires_grad_()
        self.quats = poses.quats.requires_grad_()
        self.shapes = self.local_edges(poses.translations[0].detach(), poses.quats[0].detach())
        views = len(seen.views)
        self.few = views <= FEW_VIEWS
        self.rigid = max(RIGID_LEAST, RIGID / views**2)
        self.curve: list[float] = []

    def local_edges(self, translations: Tensor, quats: Tensor) -> Float[Tensor, "b k j 3"]:
        """Edges of poses as each key point sees them: what a rigid motion of its surroundings keeps."""
        places = self.rest + translations
        edges = places[:, self.graph.edges] - places[:, :, None]
        return torch.einsum("bkca,bkjc->bkja", quat_to_matrix(F.normalize(quats, dim=-1)), edges)

    def result(self) -> RigidTransforms:
        return RigidTransforms(self.translations[0].detach().clone(), F.normalize(self.quats[0].detach(), dim=-1))

    @torch.no_grad()
    def start(self, z: Float[Tensor, " d"]) -> tuple[RigidTransforms, Tensor, Tensor, Tensor, Tensor]:
        """Training poses and those of a latent; of each frame its parent (-1 - pose, or a frame), its depth in the
        tree, and where silhouettes are in space, of poses and of frames."""
        small = self.seen.at(SMALL).some_views(GALLERY_VIEWS)
        latents = torch.cat([self.space.mu, z[None]])
        times = self.space.times[spread(self.space.frames, max(1, MAX_POSES // len(latents))).to(z.device)]
        poses = self.space.motion(latents, times)
        poses = RigidTransforms(poses.translations.flatten(0, 1), poses.quats.flatten(0, 1))
        views = torch.arange(len(small.views), device=z.device)
        thumbnails = []
        for rows in torch.arange(len(poses.quats), device=z.device).split(BATCH):
            picture = small.render(self.space.scene.carry(poses[rows]), views.expand(len(rows), -1))
            thumbnails.append(torch.cat([picture.color, picture.alpha], -1))
        frames = torch.arange(len(small.images), device=z.device)
        rgba = torch.cat([*thumbnails, small.rgba(frames[:, None], views.expand(len(frames), -1))])
        there = torch.cat([torch.ones(len(poses.quats), len(views), device=z.device), small.exist.float()])
        count = len(poses.quats)
        far = differences(rgba, there)[count:]
        to_pose, pose = far[:, :count].min(1)
        graph = far.new_zeros(len(frames) + 1, len(frames) + 1)
        graph[1:, 1:] = far[:, count:]
        graph[0, 1:] = graph[1:, 0] = FAR_POSE * to_pose
        tree = spanning_tree(graph)
        parents = torch.where(tree.parents[1:] == 0, -1 - pose.cpu(), tree.parents[1:] - 1)
        centres = triangulate(silhouette_centres(rgba[..., 3]), small.cameras.viewmats, small.cameras.Ks, there)
        return poses, parents, tree.depths[1:], centres[:count], centres[count:]

    def track(self, z: Float[Tensor, " d"], say: Say) -> None:
        """All frames, level by level of the tree."""
        poses, parents, depths, pose_centres, centres = self.start(z)
        local = self.local_edges(poses.translations, poses.quats)
        middle, deepest = self.seen.at(MIDDLE), int(depths.max())
        for depth in range(1, deepest + 1):
            frames = (depths == depth).nonzero()[:, 0]
            with torch.no_grad():
                for frame in frames.tolist():
                    parent = int(parents[frame])
                    if parent < 0:
                        place, turn, shape = (x[-1 - parent] for x in (poses.translations, poses.quats, local))
                        centre = pose_centres[-1 - parent]
                    else:
                        place, turn = self.translations[0, parent], self.quats[0, parent]
                        shape, centre = self.shapes[parent], centres[parent]
                    self.translations[0, frame] = place + centres[frame] - centre
                    self.quats[0, frame], self.shapes[frame] = turn, shape
            seen = frames[self.seen.exist[frames.to(self.seen.device)].any(1).cpu()]
            for part in seen.split(BATCH):
                self._follow(middle, part.to(self.space.device))
            say("following the motion", depth / deepest)

    def _follow(self, seen: Observations, frames: Int[Tensor, " f"]) -> None:
        optimizer = self._optimizer()
        steps = TRACK_STEPS_FEW if self.few else TRACK_STEPS
        for step in range(steps):
            self._rate(optimizer, TRACK_RATE, step / steps)
            smoothing = level(TRACK_SMOOTHING, step / steps)
            views = seen.draw(self.rng, frames, min(5, len(seen.views)))
            self._step(optimizer, seen, frames, views, smoothing)

    def refine(self, say: Say) -> None:
        """All frames together at full size, smoothly in time."""
        seen, optimizer = self.seen.at(FULL), self._optimizer()
        for step in range(REFINE_STEPS):
            self._rate(optimizer, REFINE_RATE, step / REFINE_STEPS)
            chosen = torch.from_numpy(self.rng.permutation(len(seen.seen))[:8].copy()).to(seen.device)
            frames = seen.seen[chosen]
            views = seen.draw(self.rng, frames, min(2, len(seen.views)))
            self._step(optimizer, seen, frames, views, REFINE_SMOOTHING, ACCELERATION)
            say("refining", (step + 1) / REFINE_STEPS)

    def _optimizer(self) -> FrameAdam:
        return FrameAdam([{"params": [self.translations]}, {"params": [self.quats]}])

    @staticmethod
    def _rate(optimizer: FrameAdam, rate: tuple[float, float], fraction: float) -> None:
        lr = log_linear(rate, fraction)
        optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = lr, TURN * lr

    def _step(
        self,
        optimizer: FrameAdam,
        seen: Observations,
        frames: Int[Tensor, " f"],
        views: Int[Tensor, "f c"],
        smoothing: float,
        acceleration: float = 0.0,
    ) -> None:
        moved = smoothed(self.translations[0, frames], self.quats[0, frames], self.graph.kernel(smoothing))
        loss = seen.loss(self.space.scene.carry(moved), frames, views)
        bent = (self.local_edges(moved.translations, moved.quats) - self.shapes[frames]).square().sum(-1) / self.unit
        loss = loss + self.rigid * losses.charbonnier(bent, 1.0 if self.few else 0.1).mean()
        if acceleration and len(seen.images) > 2:
            window = self.translations[0, around(frames, len(seen.images))]
            loss = loss + acceleration * losses.acceleration(window).mean() / self.unit
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        self.curve.append(loss.item())


def differences(rgba: Float[Tensor, "n v h w 4"], there: Float[Tensor, "n v"]) -> Float[Tensor, "n n"]:
    """How different pictures look, half as they are and half with their silhouettes centred: RMS over the views that
    both have, infinite where they share none."""
    small = F.adaptive_avg_pool2d(rgba.flatten(0, 1).permute(0, 3, 1, 2), THUMBNAIL)
    small = small.reshape(*rgba.shape[:2], -1)
    total = torch.zeros(len(rgba), len(rgba), device=rgba.device)
    for view in range(rgba.shape[1]):
        both = there[:, view, None] * there[None, :, view]
        total += torch.cdist(small[:, view], small[:, view]).square() * both
    shared = there @ there.T
    as_is = torch.where(shared > 0, total / (shared * small.shape[-1]).clamp(min=1), float("inf"))
    return (0.5 * (as_is + frame_distances(rgba, there).square())).sqrt()
