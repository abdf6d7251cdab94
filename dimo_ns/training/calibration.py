"""Finds what is wrong with the views while training goes on, and which pictures are looked at because of it.

View 0 is the picture that the user gave: it has no faults, and its clock is the object's.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dimo_ns.core.view_faults import ViewFaults, by_clock
from dimo_ns.rasterize.render import render
from dimo_ns.tracking.registration import Difference, register
from dimo_ns.training.datamanager import DimoDataManager
from dimo_ns.training.model import DimoModel

RESOLUTION = 128
"""Of the renders, in pixels; they are compared at half of it."""
DOUBTS = (0.5, 0.3, 0.2, 0.15, 0.15, 0.15)
"""Error of a pixel from which on it counts less, in the rounds of a first calibration: each brings late views nearer by
half. Later calibrations are one round, with the last of them."""
CHANCE = {"displacement": 0.0075, "clock": 0.12, "exposure": 0.03}
"""Root mean square of faults (halves of a picture, frames, logarithm) up to which they are taken for errors of the
model, and views for as good as true; from the square root of two of it on, they are corrected whole."""
NEAR = 0.55
"""How many frames a picture may be off the moment that it is shown for."""
REFERENCE = 3.0
"""How much more often than a flawless view view 0 is looked at, where others have faults."""


@dataclass(frozen=True, eq=False)
class Showing:
    """Which pictures show the object when, and how far they are trusted."""

    picture_ids: Int[np.ndarray, "m t v"]
    """The picture of each view that shows a frame of the object; -1 where none does."""
    trust: Float[np.ndarray, "m v"] | None
    """How often views are looked at, relatively; None: all alike."""
    faulty: bool
    """Whether pictures show more than the object: faults that were found."""


def showing(faults: ViewFaults, available: Bool[np.ndarray, "m t v"], trust: Float[np.ndarray, " v"]) -> Showing:
    """What follows from the faults that were found; without any, every picture shows the frame of its number. `trust`:
    what the dataset says of its views."""
    motions, frames, _ = available.shape
    if not faults.found:
        even = bool((trust == trust[0]).all())
        picture_ids = np.where(available, np.arange(frames)[:, None], -1)
        return Showing(picture_ids, None if even else np.tile(trust, (motions, 1)), faulty=False)
    off = faults.object_frames(frames).cpu().numpy()[:, None] - np.arange(frames)[:, None, None]  # m, frame, v, picture
    off = np.where(available.transpose(0, 2, 1)[:, None], np.abs(off), np.inf)
    picture_ids = np.where(off.min(-1) <= NEAR, off.argmin(-1), -1)
    amount = faults.displacement.square().sum((2, 3, 4)).cpu().numpy() / CHANCE["displacement"] ** 2
    shares = trust / (1 + amount)
    shares[:, 0] = REFERENCE
    return Showing(picture_ids, shares, faulty=True)


@torch.no_grad()
def calibrate(model: DimoModel, manager: DimoDataManager) -> None:
    """Compares all pictures with renders, and corrects the faults that the model knows of; explicit trajectories follow
    the clock of view 0."""
    for doubt in DOUBTS[-1:] if model.faults.found else DOUBTS:
        _round(model, manager, doubt)
        if not model.faults.found:
            return


def _round(model: DimoModel, manager: DimoDataManager, doubt: float) -> None:
    faults = model.faults
    motions, views = faults.clock.shape[:2]
    found = [[_difference(model, manager, m, v, doubt) for v in range(views)] for m in range(motions)]
    displacement, clock, exposure = (
        torch.stack([torch.stack([getattr(difference, name) for difference in row]) for row in found])
        for name in ("displacement", "clock", "exposure")
    )
    if model.table is not None and model.moment.phase.mover == "table":
        model.table.retime(by_clock(clock[:, 0], model.frame_count))
    clock, exposure = clock - clock[:, :1], exposure - exposure[:, :1]
    displacement[:, 0] = 0
    moment = clock[..., 0] + clock[..., 1] * model.frame_count / 2
    faults.displacement.copy_(displacement * _share(displacement.square().sum((2, 3, 4)), "displacement"))
    faults.clock.copy_(clock * _share(moment.square(), "clock"))
    faults.exposure.copy_(exposure * _share(exposure.square().mean(-1), "exposure"))


def _share(squares: Float[Tensor, "m v"], kind: str) -> Float[Tensor, ""]:
    """How much of what was found is corrected: nothing of what chance may have made."""
    return (
        (squares[:, 1:].mean() / CHANCE[kind] ** 2 - 1).clamp(0, 1) if squares.shape[1] > 1 else squares.new_zeros(())
    )


def _difference(model: DimoModel, manager: DimoDataManager, motion: int, view: int, doubt: float) -> Difference:
    faults, device, count = model.faults, model.device, model.frame_count
    known = Difference(faults.displacement[motion, view], faults.clock[motion, view], faults.exposure[motion, view])
    size = manager.size_at(RESOLUTION)
    ids = torch.from_numpy(manager.frames.available[motion, :, view]).nonzero()[:, 0]
    if not len(ids):
        return known
    asked = torch.full_like(ids, motion), ids, torch.full((len(ids), 1), view)
    pictures = manager.frames.batch(*asked, size)[:, 0].to(device).float() / 255
    motion_ids, ids, view_ids = (x.to(device) for x in asked)
    moments = faults.object_frames(count)[motion, view, ids].clamp(0, count - 1)
    g = model.mover.pose(model.scene.latents.mean(motion_ids), moments / count, motion_ids)
    cameras = manager.cameras(size)[view_ids]
    seen = render(faults.seen(g, cameras, motion_ids, view_ids, ids[:, None] / count), cameras[:, :, None])
    renders = torch.cat([seen.color, seen.alpha], -1)[:, 0, 0]
    pictures, renders = (F.avg_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1) for x in (pictures, renders))
    return register(pictures, renders, moments, ids.float(), ids / count, known, doubt)
