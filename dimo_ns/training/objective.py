"""What a step minimises: weighted terms of the pictures, of how the key points move and of the latents; or, in a phase
without pictures, of how far the decoder is from the table (paper, section 3.3).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dimo_ns import gpu
from dimo_ns.core import losses
from dimo_ns.core.decoder import LowRankDecoder, time_features
from dimo_ns.core.scene import Scene
from dimo_ns.core.trajectories import TrajectoryTable
from dimo_ns.metrics.perceptual import Lpips
from dimo_ns.rasterize.pixel_errors import pixel_errors
from dimo_ns.tracking.schedule import around
from dimo_ns.training.datamanager import Batch, Poses
from dimo_ns.training.movers import Moved, draw
from dimo_ns.training.recipe import Weights

ROWS, ROW_KEYPOINTS = 16, 128
"""Poses, and key points of each, that a step of the lesson `rows` looks at."""

Terms = dict[str, Float[Tensor, ""]]
"""Weighted losses by name; a step minimises their sum, in their order."""


def picture_terms(
    rgba: Float[Tensor, "b c h w 4"],
    importance: Float[Tensor, "b c"],
    color: Float[Tensor, "b c h w 3"],
    alpha: Float[Tensor, "b c h w 1"],
    geometry: tuple[Float[Tensor, "b c h w _"], ...],
    weights: Weights,
    lpips: Lpips | None,
) -> Terms:
    """A render, its colour over black, against its frames, both over white. `geometry`: its depth and its normals, or
    nothing where they do not count; `lpips`: the network, if its weights are here."""
    flat_l1 = 0.0 if weights.pyramid else weights.l1
    scales = losses.ErrorWeights(flat_l1, weights.mse, weights.mask)
    errors = pixel_errors(color, alpha, rgba, importance, scales).unbind()
    terms = {name: error for name, error, scale in zip(scales._fields, errors, scales, strict=True) if scale}
    if not looks_closer(weights):
        return terms

    target, mask = losses.composite(rgba, torch.ones(3, device=rgba.device))
    image, target, mask = (color + (1 - alpha)).flatten(0, 1), target.flatten(0, 1), mask.flatten(0, 1)
    if weights.l1 and weights.pyramid:
        error = (image - target) * importance.flatten()[:, None, None, None]
        terms["l1"] = weights.l1 * losses.pyramid_l1(error, weights.pyramid)
    if weights.ssim:
        terms["ssim"] = weights.ssim * (1 - losses.ssim(image, target)).mean()
    if weights.lpips and lpips is not None:
        terms["lpips"] = weights.lpips * lpips(image, target)
    if geometry:
        inside = (mask > 0.5).float()
        for name, value in zip(("depth", "normal"), geometry, strict=True):
            smooth = losses.smoothness(value.flatten(0, 1), target, inside).mean()
            terms[name] = getattr(weights, name) * smooth
    return terms


def looks_closer(weights: Weights) -> bool:
    """Whether pictures are compared by more than the errors of their pixels, one by one."""
    return bool(weights.pyramid or weights.ssim or weights.lpips or weights.depth or weights.normal)


def importance_of(batch: Batch, weights: Weights) -> Float[Tensor, "b c"]:
    """How much each image of a batch counts: one for those of view 0 and of frame 0, `reference` times less for the
    others."""
    if weights.reference == 1:
        return torch.ones(batch.view_ids.shape, device=batch.view_ids.device)
    reference = (batch.poses.frame_ids[:, None] == 0) | (batch.view_ids == 0)
    return torch.where(reference, 1.0, 1.0 / weights.reference)


def motion_terms(
    moved: Moved,
    poses: Poses,
    weights: Weights,
    table: TrajectoryTable | None,
    anchors: Float[Tensor, "m t k 3"] | None,
) -> Terms:
    """How the points move. `table`: for the acceleration of its rows; `anchors`: where the paper's first stage put the
    key points of every motion and frame."""
    terms: Terms = {}
    if weights.arap and moved.transforms is not None and moved.graph is not None:
        terms["arap"] = weights.arap * moved.graph().mean_arap(moved.points, moved.transforms, weights.arap_robust)
    if weights.acceleration and table is not None and moved.graph is not None:
        window = around(poses.frame_ids, table.quats.shape[1])
        positions = table.rows(poses.motion_ids[:, None].expand_as(window), window)[0]
        unit = moved.graph().edge_length_squared(moved.points)
        terms["acceleration"] = weights.acceleration * losses.acceleration(positions).mean() / unit
    if weights.anchor and anchors is not None and moved.transforms is not None:
        positions = moved.points + moved.transforms.translations
        places = anchors[poses.motion_ids, poses.frame_ids]
        terms["anchor"] = weights.anchor * losses.anchor(positions, places).mean()
    return terms | latent_terms(moved.divergence, weights)


def latent_terms(divergence: Float[Tensor, ""] | None, weights: Weights) -> Terms:
    """How far the posteriors are from the prior."""
    return {"kl": weights.kl * divergence} if weights.kl and divergence is not None else {}


class CoordinateLesson(nn.Module):
    """The low-rank decoder against the table in all frames of all motions: the squared error of the pose's coordinates,
    each weighted by the energy of its basis vector."""

    def __init__(self, scene: Scene, coordinates: Float[Tensor, "f r"], frames: int):
        super().__init__()
        decoder, device = scene.decoder, coordinates.device
        assert isinstance(decoder, LowRankDecoder)
        self.latents, self.decoder, self.coordinates = scene.latents, decoder, coordinates
        motions = len(coordinates) // frames
        self.motion_ids = torch.arange(motions, device=device).repeat_interleave(frames)
        times = (torch.arange(frames, device=device) / frames).repeat(motions)
        self.features = time_features(times, decoder.TIME_FREQUENCIES)
        energy = decoder.basis.detach().square().sum((1, 2))
        self.shares = energy / energy.sum()

    def forward(self) -> tuple[Tensor, Tensor]:
        z, divergence = draw(self.latents, self.motion_ids)
        found = self.decoder.trunk(torch.cat([self.features, z], -1))
        return weighted_square(found, self.coordinates, self.shares), divergence


class RowLesson(nn.Module):
    """The paper's decoder against the table at random key points in random frames: squared error of translations and
    quaternions, as a share of the table's variance."""

    def __init__(self, scene: Scene, rows: Float[Tensor, "f k 7"], frames: int):
        super().__init__()
        self.scene, self.rows, self.frames = scene, rows, frames
        self.variance = (rows - rows.mean(0)).square().sum(-1).mean()

    def forward(self) -> tuple[Tensor, Tensor]:
        scene, rows = self.scene, self.rows
        chosen_rows = torch.randint(len(rows), (ROWS,), device=rows.device)
        chosen: Int[Tensor, " c"] = torch.rand(len(scene.keypoints), device=rows.device).argsort()[:ROW_KEYPOINTS]
        motion_ids, frame_ids = chosen_rows // self.frames, chosen_rows % self.frames
        z, divergence = draw(scene.latents, motion_ids)
        found = scene.decoder(scene.keypoints[chosen], frame_ids / self.frames, z)
        error = torch.cat([found.translations, found.quats], -1) - rows[chosen_rows[:, None], chosen]
        return error.square().sum(-1).mean() / self.variance, divergence


LESSONS: dict[str, Callable[[Scene, Tensor, int], nn.Module]] = {"coordinates": CoordinateLesson, "rows": RowLesson}
"""What a phase without pictures teaches the decoder, by its name: made of a scene, of what the table says, and of the
number of frames. Called, it says how far the decoder is from the table, and the latents that were drawn from the prior.
"""


def weighted_square(
    x: Float[Tensor, "n r"], target: Float[Tensor, "n r"], weights: Float[Tensor, " r"]
) -> Float[Tensor, ""]:
    """`losses.weighted_square`, in one kernel where there is one."""
    if gpu.usable(x):
        from dimo_ns.gpu import weighted_square as kernels  # Triton is not everywhere

        return kernels.weighted_square(x, target, weights)
    return losses.weighted_square(x, target, weights)
