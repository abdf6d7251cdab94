"""A fit beside the truth: a video of what was seen, and a sheet of views that were not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from dimo_ns.apps.fit.fitting import Fit
from dimo_ns.apps.fit.observations import Observations
from dimo_ns.core import losses
from dimo_ns.core.types import RigidTransforms
from dimo_ns.data.dataset import Dataset, View
from dimo_ns.draw.pictures import caption
from dimo_ns.files.videos import even, write_video
from dimo_ns.metrics.images import shots
from dimo_ns.space.motion_space import MotionSpace

PIXELS, VIEWS, FRAMES = 256, 3, 6


@torch.no_grad()
def comparison_video(space: MotionSpace, observations: Observations, found: Fit, path: Path) -> Path:
    """Truth, the best training motion in its place, and the fit, side by side in the first view that was seen."""
    seen = observations.at(PIXELS).some_views(1)
    if found.alignment is not None:
        seen = replace(seen, cameras=found.alignment.cameras(seen.cameras))
    training = space.motion(space.latents(found.best_training), seen.times)[0]
    view, white = torch.zeros(1, 1, dtype=torch.long, device=seen.device), torch.ones(3, device=seen.device)

    def shown(transforms: RigidTransforms, frame: int) -> UInt8[np.ndarray, "h w 3"]:
        return pixels(seen.render(space.scene.carry(transforms[frame : frame + 1]), view).over()[0, 0])

    def images():
        for frame in seen.exist[:, 0].nonzero()[:, 0].tolist():
            truth, _ = losses.composite(seen.rgba(torch.tensor(frame), torch.tensor(0)), white)
            named = {
                "truth": pixels(truth),
                found.best_training: shown(training, frame),
                "fit": shown(found.clip.transforms, frame),
            }
            yield even(np.concatenate([caption(image, name) for name, image in named.items()], 1))

    return write_video(path, images(), found.clip.fps)


@torch.no_grad()
def comparison_sheet(space: MotionSpace, dataset: Dataset, found: Fit, views: Sequence[View], path: Path) -> Path:
    """Truth over fit as a PNG: a pair of rows for each view (three at most), frames from left to right."""
    rows, transforms = [], found.clip.transforms
    for view in views[:VIEWS]:
        camera = found.alignment.view(view) if found.alignment else view
        pairs = [
            (pixels(shot.target), pixels(shot.image))
            for shot in shots(
                dataset, found.clip.name, [camera], lambda frame: space.scene.carry(transforms[frame : frame + 1])
            )
        ]
        step = max(1, -(-len(pairs) // FRAMES))
        rows += [np.concatenate(row, 1) for row in zip(*pairs[::step], strict=True)]
    width = min((row.shape[1] for row in rows), default=0)
    Image.fromarray(np.concatenate([row[:, :width] for row in rows])).save(path)
    return path


def pixels(image: Tensor) -> UInt8[np.ndarray, "h w 3"]:
    return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
