"""What a step minimises: weighted terms of the pictures, of how the key points move and of the latents; or, in a phase
without pictures, of how far the decoder is from the table (paper, section 3.3).
"""

from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimo_ns import gpu
from dimo_ns.core import losses
from dimo_ns.core.decoder import LowRankDecoder, time_features
from dimo_ns.core.scene import Scene
from dimo_ns.core.trajectories import TrajectoryTable
from dimo_ns.metrics.perceptual import Lpips
from dimo_ns.rasterize.pixel_errors import pixel_errors
from dimo_ns.rasterize.render import Render
from dimo_ns.tracking.schedule import around
from dimo_ns.training.datamanager import Batch
from dimo_ns.training.movers import Moved, draw
from dimo_ns.training.recipe import Weights

ROWS, ROW_KEYPOINTS = 16, 128
"""Poses, and key points of each, that a step of the lesson `rows` looks at."""

Terms = dict[str, Float[Tensor, ""]]
"""Weighted losses by name; a step minimises their sum, in their order."""


def picture_terms(seen: Render, batch: Batch, weights: Weights, lpips: Lpips | None) -> Terms:
    """A render of a batch against its frames, over white. `lpips`: the network, if its weights are here."""
    importance = importance_of(batch, weights)
    flat_l1 = 0.0 if weights.pyramid else weights.l1
    scales = losses.ErrorWeights(flat_l1, weights.mse, weights.mask)
    errors = pixel_errors(seen.color, seen.alpha, batch.rgba, importance, scales).unbind()
    terms = {name: error for name, error, scale in zip(scales._fields, errors, scales, strict=True) if scale}
    if not (weights.pyramid or weights.ssim or weights.lpips or seen.depth is not None):
        return terms

    target, mask = losses.composite(batch.rgba, torch.ones(3, device=batch.rgba.device))
    image, target, mask = seen.over(1.0).flatten(0, 1), target.flatten(0, 1), mask.flatten(0, 1)
    if weights.l1 and weights.pyramid:
        error = (image - target) * importance.flatten()[:, None, None, None]
        terms["l1"] = weights.l1 * losses.pyramid_l1(error, weights.pyramid)
    if weights.ssim:
        terms["ssim"] = weights.ssim * (1 - losses.ssim(image, target)).mean()
    if weights.lpips and lpips is not None:
        terms["lpips"] = weights.lpips * lpips(image, target)
    if seen.depth is not None and seen.normal is not None:
        inside = (mask > 0.5).float()
        for name, value in (("depth", seen.depth), ("normal", seen.normal)):
            smooth = losses.smoothness(value.flatten(0, 1), target, inside).mean()
            terms[name] = getattr(weights, name) * smooth
    return terms


def importance_of(batch: Batch, weights: Weights) -> Float[Tensor, "b c"]:
    """How much each image of a batch counts: one for those of view 0 and of frame 0, `reference` times less for the
    others."""
    if weights.reference == 1:
        return torch.ones(batch.view_ids.shape, device=batch.view_ids.device)
    reference = (batch.frame_ids[:, None] == 0) | (batch.view_ids == 0)
    return torch.where(reference, 1.0, 1.0 / weights.reference)


def motion_terms(
    moved: Moved,
    batch: Batch,
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
        window = around(batch.frame_ids, table.quats.shape[1])
        positions = table.rows(batch.motion_ids[:, None].expand_as(window), window)[0]
        unit = moved.graph().edge_length_squared(moved.points)
        terms["acceleration"] = weights.acceleration * losses.acceleration(positions).mean() / unit
    if weights.anchor and anchors is not None and moved.transforms is not None:
        positions = moved.points + moved.transforms.translations
        places = anchors[batch.motion_ids, batch.frame_ids]
        terms["anchor"] = weights.anchor * losses.anchor(positions, places).mean()
    return terms | latent_terms(moved.divergence, weights)


def latent_terms(divergence: Float[Tensor, ""] | None, weights: Weights) -> Terms:
    """How far the posteriors are from the prior."""
    return {"kl": weights.kl * divergence} if weights.kl and divergence is not None else {}


class Lesson(Protocol):
    """What a phase without pictures teaches the decoder."""

    def __call__(self) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """How far the decoder is from the table, and the latents that were drawn from the prior."""
        ...


class CoordinateLesson:
    """The low-rank decoder against the table in all frames of all motions: the squared error of the pose's coordinates,
    each weighted by the energy of its basis vector."""

    def __init__(self, scene: Scene, coordinates: Float[Tensor, "f r"], frames: int):
        decoder, device = scene.decoder, coordinates.device
        assert isinstance(decoder, LowRankDecoder)
        self.scene, self.decoder, self.coordinates = scene, decoder, coordinates
        motions = len(coordinates) // frames
        self.motion_ids = torch.arange(motions, device=device).repeat_interleave(frames)
        times = (torch.arange(frames, device=device) / frames).repeat(motions)
        self.features = time_features(times, decoder.TIME_FREQUENCIES)
        energy = decoder.basis.detach().square().sum((1, 2))
        self.shares = energy / energy.sum()

    def __call__(self) -> tuple[Tensor, Tensor]:
        z, divergence = draw(self.scene.latents, self.motion_ids)
        found = self.decoder.trunk(torch.cat([self.features, z], -1))
        return weighted_square(found, self.coordinates, self.shares), divergence


class RowLesson:
    """The paper's decoder against the table at random key points in random frames: squared error of translations and
    quaternions, as a share of the table's variance."""

    def __init__(self, scene: Scene, rows: Float[Tensor, "f k 7"], frames: int):
        self.scene, self.rows, self.frames = scene, rows, frames
        self.variance = (rows - rows.mean(0)).square().sum(-1).mean()

    def __call__(self) -> tuple[Tensor, Tensor]:
        scene, rows = self.scene, self.rows
        chosen_rows = torch.randint(len(rows), (ROWS,), device=rows.device)
        chosen: Int[Tensor, " c"] = torch.randperm(len(scene.keypoints), device=rows.device)[:ROW_KEYPOINTS]
        motion_ids, frame_ids = chosen_rows // self.frames, chosen_rows % self.frames
        z, divergence = draw(scene.latents, motion_ids)
        found = scene.decoder(scene.keypoints[chosen], frame_ids / self.frames, z)
        error = torch.cat([found.translations, found.quats], -1) - rows[chosen_rows[:, None], chosen]
        return error.square().sum(-1).mean() / self.variance, divergence


LESSONS: dict[str, Callable[[Scene, Tensor, int], Lesson]] = {"coordinates": CoordinateLesson, "rows": RowLesson}
"""By the lesson of a phase: what makes it of a scene, of what the table says, and of the number of frames."""


def weighted_square(
    x: Float[Tensor, "n r"], target: Float[Tensor, "n r"], weights: Float[Tensor, " r"]
) -> Float[Tensor, ""]:
    """`losses.weighted_square`, in one kernel where there is one."""
    if gpu.usable(x):
        from dimo_ns.gpu import weighted_square as kernels  # Triton is not everywhere

        return kernels.weighted_square(x, target, weights)
    return losses.weighted_square(x, target, weights)
