"""What a step minimises: weighted terms of the pictures, of how the key points move and of the latents; or, in a phase
without pictures, of how far the decoder is from the table (paper, section 3.3).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimo_ns.core import losses
from dimo_ns.core.decoder import LowRankDecoder
from dimo_ns.core.scene import Scene
from dimo_ns.core.trajectories import TrajectoryTable
from dimo_ns.metrics.perceptual import Lpips
from dimo_ns.rasterize.render import Render
from dimo_ns.tracking.schedule import around
from dimo_ns.training.datamanager import Batch
from dimo_ns.training.movers import Moved
from dimo_ns.training.recipe import Weights

ROWS, ROW_KEYPOINTS = 16, 128
"""Poses, and key points of each, that a step of the lesson `rows` looks at."""

Terms = dict[str, Float[Tensor, ""]]
"""Weighted losses by name; a step minimises their sum, in their order."""


def picture_terms(seen: Render, batch: Batch, weights: Weights, lpips: Lpips | None) -> Terms:
    """A render of a batch against its frames, over white. `lpips`: the network, if its weights are here."""
    image = seen.over(1.0)
    target, mask = losses.composite(batch.rgba, torch.ones(3, device=batch.rgba.device))
    reference = (batch.frame_ids[:, None] == 0) | (batch.view_ids == 0)
    importance = torch.where(reference, 1.0, 1.0 / weights.reference)[..., None, None, None]

    terms: Terms = {}
    if weights.l1:
        error = (image - target) * importance
        terms["l1"] = weights.l1 * losses.pyramid_l1(error.flatten(0, 1), weights.pyramid)
    if weights.mse:
        terms["mse"] = weights.mse * ((image - target).square() * importance).mean()
    if weights.mask:
        terms["mask"] = weights.mask * (seen.alpha - mask).square().mean()
    flat_image, flat_target = image.flatten(0, 1), target.flatten(0, 1)
    if weights.ssim:
        terms["ssim"] = weights.ssim * (1 - losses.ssim(flat_image, flat_target)).mean()
    if weights.lpips and lpips is not None:
        terms["lpips"] = weights.lpips * lpips(flat_image, flat_target)
    if seen.depth is not None and seen.normal is not None:
        inside = (mask > 0.5).float().flatten(0, 1)
        for name, value in (("depth", seen.depth), ("normal", seen.normal)):
            smooth = losses.smoothness(value.flatten(0, 1), flat_target, inside).mean()
            terms[name] = getattr(weights, name) * smooth
    return terms


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
        energy = moved.graph().arap(moved.points, moved.transforms)
        if weights.arap_robust:
            energy = losses.charbonnier(energy, weights.arap_robust)
        terms["arap"] = weights.arap * energy.mean()
    if weights.acceleration and table is not None and moved.graph is not None:
        window = around(batch.frame_ids, table.quats.shape[1])
        positions = table.rows(batch.motion_ids[:, None].expand_as(window), window)[0]
        unit = moved.graph().edge_length_squared(moved.points)
        terms["acceleration"] = weights.acceleration * losses.acceleration(positions).mean() / unit
    if weights.anchor and anchors is not None and moved.transforms is not None:
        positions = moved.points + moved.transforms.translations
        places = anchors[batch.motion_ids, batch.frame_ids]
        terms["anchor"] = weights.anchor * losses.anchor(positions, places).mean()
    return terms


def latent_terms(scene: Scene, weights: Weights) -> Terms:
    """How far the posteriors are from the prior."""
    return {"kl": weights.kl * scene.latents.kl().mean()} if weights.kl else {}


def coordinate_error(scene: Scene, coordinates: Float[Tensor, "f r"], frames: int) -> Float[Tensor, ""]:
    """The low-rank decoder against the table in all frames of all motions: the squared error of the pose's coordinates,
    each weighted by the energy of its basis vector."""
    decoder, device = scene.decoder, coordinates.device
    assert isinstance(decoder, LowRankDecoder)
    motions = len(coordinates) // frames
    motion_ids = torch.arange(motions, device=device).repeat_interleave(frames)
    times = (torch.arange(frames, device=device) / frames).repeat(motions)
    energy = decoder.basis.detach().square().sum((1, 2))
    error = decoder.coordinates(times, scene.latents.draw(motion_ids)) - coordinates
    return (error.square() @ (energy / energy.sum())).mean()


def row_error(scene: Scene, rows: Float[Tensor, "f k 7"], frames: int) -> Float[Tensor, ""]:
    """The paper's decoder against the table at random key points in random frames: squared error of translations and
    quaternions, as a share of the table's variance."""
    chosen_rows = torch.randint(len(rows), (ROWS,), device=rows.device)
    chosen: Int[Tensor, " c"] = torch.randperm(len(scene.keypoints), device=rows.device)[:ROW_KEYPOINTS]
    motion_ids, frame_ids = chosen_rows // frames, chosen_rows % frames
    keypoints, z = scene.keypoints[chosen], scene.latents.draw(motion_ids)
    found = scene.decoder(keypoints, frame_ids / frames, z)
    error = torch.cat([found.translations, found.quats], -1) - rows[chosen_rows[:, None], chosen]
    variance = (rows - rows.mean(0)).square().sum(-1).mean()
    return error.square().sum(-1).mean() / variance


LESSONS = {"coordinates": coordinate_error, "rows": row_error}
"""How far the decoder is from the table, by the lesson of a phase."""
