"""How phases begin: where the first Gaussians, the key points, the order of tracking, the decoder's basis and the
latents come from.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimo_ns.core.cameras import Cameras
from dimo_ns.core.decoder import LowRankDecoder
from dimo_ns.core.gaussians import gaussians_in_ball, gaussians_on, init_around_keypoints, spacing
from dimo_ns.core.geometry import farthest_points, nearest_neighbours
from dimo_ns.core.trajectories import TrajectoryTable
from dimo_ns.core.types import RigidTransforms
from dimo_ns.tracking.graph import connect
from dimo_ns.tracking.hull import hull_surface
from dimo_ns.tracking.tree import Tree, frame_distances, silhouette_centres, spanning_tree, triangulate
from dimo_ns.training.datamanager import DimoDataManager
from dimo_ns.training.model import DimoModel
from dimo_ns.training.movers import NEIGHBOURS
from dimo_ns.training.population import Population

SHARP, SMALL = 256, 64
"""Longer side of the pictures that shapes are carved from, and that frames are compared by."""
SOLID, VISIBLE = 0.3, 0.01
"""Opacity of Gaussians that key points are chosen from, and of points of the paper's stage 1 that become key points."""
POSTERIOR_LOGVAR = -6.0
"""The latents' log-variance when the lesson begins: narrow against the unit variance among motions."""
BALL_RADIUS, BALL_SCALE, PER_KEYPOINT = 0.5, 0.03, 200
"""The paper's first points, and how many Gaussians it puts around each key point."""


@dataclass(frozen=True, eq=False)
class Order:
    """In which order frames are tracked, and where each one's silhouettes are in space."""

    tree: Tree
    centres: Float[Tensor, "n 3"]

    @torch.no_grad()
    def enter(self, table: TrajectoryTable, depths: Sequence[int]) -> None:
        """Frames of these depths of the tree start where their parents are, moved by as much as their silhouettes."""
        frames = table.quats.shape[1]
        for depth in depths:
            nodes = (self.tree.depths == depth).nonzero()[:, 0]
            parents = self.tree.parents[nodes]
            node, parent = (nodes // frames, nodes % frames), (parents // frames, parents % frames)
            shift = self.centres[nodes] - self.centres[parents]
            table.translations[node] = table.translations[parent] + shift[:, None]
            table.quats[node] = table.quats[parent]


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames with their masks in all training views."""

    rgba: Float[Tensor, "n v h w 4"]
    """Premultiplied."""
    available: Float[Tensor, "n v"]
    """1 where there is a frame, else 0."""
    cameras: Cameras

    @property
    def centres(self) -> Float[Tensor, "n 3"]:
        """Where the silhouettes of each frame are in space."""
        pixels = silhouette_centres(self.rgba[..., 3])
        return triangulate(pixels, self.cameras.viewmats, self.cameras.Ks, self.available)


def read_frames(manager: DimoDataManager, resolution: int, frames: Sequence[tuple[int, int]]) -> Frames:
    """Given (motion, frame) pairs in all training views, at most so many pixels high and wide."""
    size = manager.size_at(resolution)
    available = torch.from_numpy(manager.frames.available)[tuple(torch.tensor(frames).T)]
    rgba = torch.zeros(*available.shape, *size, 4)
    for row, (motion, frame) in enumerate(frames):
        views = available[row].nonzero()[:, 0]
        if len(views):
            images = manager.frames.batch([motion], [frame], views[None], size)
            rgba[row, views] = images[0].float() / 255
    device = manager.device
    return Frames(rgba.to(device), available.float().to(device), manager.cameras(size))


def read_thumbnails(model: DimoModel, manager: DimoDataManager) -> Frames:
    """Every frame of every motion, small, by motion and then frame."""
    motions, frames = range(len(model.motion_names)), range(model.frame_count)
    return read_frames(manager, SMALL, [(m, f) for m in motions for f in frames])


def order_so_far(model: DimoModel, manager: DimoDataManager) -> Order:
    """The order that a checkpoint holds."""
    return Order(Tree(model.parents.cpu(), model.depths.cpu()), read_thumbnails(model, manager).centres)


def on_hull(model: DimoModel, manager: DimoDataManager, population: Population, generator: torch.Generator) -> None:
    """Gaussians on the visual hull of the reference frame: frame 0 of the first motion."""
    seen = read_frames(manager, SHARP, [(0, 0)])
    cameras, count = seen.cameras, model.recipe.gaussians
    population.replace(gaussians_on(hull_surface(seen.rgba[0, ..., 3], cameras.viewmats, cameras.Ks, count, generator)))


@torch.no_grad()
def by_tree(model: DimoModel, manager: DimoDataManager, population: Population, generator: torch.Generator) -> Order:
    """Key points spread over the object that was found so far; the order in which frames are tracked."""
    g = model.scene.gaussians()
    solid = g.means[g.opacities > SOLID]
    solid = solid if len(solid) >= model.recipe.keypoints else g.means
    chosen = solid[farthest_points(solid, model.recipe.keypoints)]
    sharp = read_frames(manager, SHARP, [(0, 0)])
    edges = connect(chosen, sharp.rgba[0, ..., 3], sharp.cameras.viewmats, sharp.cameras.Ks, NEIGHBOURS)
    place_keypoints(model, chosen, 0.7 * spacing(chosen), edges)

    small = read_thumbnails(model, manager)
    tree = spanning_tree(frame_distances(small.rgba, small.available))
    model.parents, model.depths = tree.parents.to(model.device), tree.depths.to(model.device)
    return Order(tree, small.centres)


@torch.no_grad()
def by_distilling(
    model: DimoModel, manager: DimoDataManager, population: Population, generator: torch.Generator
) -> None:
    """The low-rank decoder's basis is the principal components of the trajectories; a motion's latent starts at its
    place among the motions (their principal coordinates), with a small posterior around it."""
    decoder, latents = model.scene.decoder, model.scene.latents
    assert model.table is not None
    found = model.table.continuous()
    flat = RigidTransforms(found.translations.flatten(0, 1), found.quats.flatten(0, 1))
    model.coordinates = (
        decoder.fit_basis(flat)
        if isinstance(decoder, LowRankDecoder)
        else torch.cat([flat.translations, flat.quats], -1)
    )
    motions = found.translations.flatten(1)
    u, s, _ = torch.linalg.svd(motions - motions.mean(0), full_matrices=False)
    kept = min(int((s > 1e-6 * s[0]).sum()), latents.mu.shape[1])
    latents.mu[:, :kept] = u[:, :kept] * math.sqrt(len(motions))
    latents.logvar.fill_(POSTERIOR_LOGVAR)


def in_ball(model: DimoModel, manager: DimoDataManager, population: Population, generator: torch.Generator) -> None:
    """The paper's first points."""
    population.replace(gaussians_in_ball(model.recipe.gaussians, BALL_RADIUS, BALL_SCALE, generator))


@torch.no_grad()
def around_keypoints(
    model: DimoModel, manager: DimoDataManager, population: Population, generator: torch.Generator
) -> None:
    """The paper's second stage: what is left of the points become the key points, each with a ball of Gaussians."""
    scene, points = model.scene, model.scene.gaussians
    visible = (torch.sigmoid(points.logit_opacities) > VISIBLE).nonzero()[:, 0]
    points = points.select(visible if len(visible) >= 16 else torch.arange(len(points), device=model.device))
    radii = points.log_scales.mean().exp().expand(len(points))
    times = torch.arange(model.frame_count, device=model.device) / model.frame_count
    moved = [scene.decoder(points.means, times, z.expand(len(times), -1)) for z in scene.latents.mu]
    model.anchors = torch.stack([points.means + transforms.translations for transforms in moved])
    place_keypoints(model, points.means, radii, nearest_neighbours(points.means, NEIGHBOURS))
    population.replace(init_around_keypoints(points.means, radii, points.colors, PER_KEYPOINT, generator=generator))


def place_keypoints(
    model: DimoModel, keypoints: Float[Tensor, "k 3"], radii: Float[Tensor, " k"], edges: Tensor
) -> None:
    """Puts key points in place, and which of them are kept rigid with which."""
    scene = model.scene
    scene.keypoints, scene.log_radii = nn.Parameter(keypoints.detach().clone()), nn.Parameter(radii.log())
    scene.refresh_neighbours()
    model.edges = edges


BEGIN: dict[str, Callable[[DimoModel, DimoDataManager, Population, torch.Generator], Order | None]] = {
    "hull": on_hull,
    "tree": by_tree,
    "distill": by_distilling,
    "ball": in_ball,
    "around": around_keypoints,
}
"""How a phase begins, by `Phase.begin`; what tracks returns its order."""
