"""Datasets whose frames are renders of a space of motions: what is true of them is known."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from dimo_ns.data.dataset import Dataset, Motion, orbit_view
from dimo_ns.data.format import write
from dimo_ns.metrics.images import render_views
from dimo_ns.space.motion_space import Clip, MotionSpace

SIZE = 40
VIEWS = [
    orbit_view(name, split, azimuth, 10.0, SIZE)
    for name, split, azimuth in (
        ("view_00", "train", 0.0),
        ("view_01", "train", 120.0),
        ("view_02", "train", 240.0),
        ("test_00", "test", 60.0),
    )
]


def photograph(space: MotionSpace, root: Path, held_out: Mapping[str, Clip] | None = None) -> Dataset:
    """The space's own motions, and held-out ones, as they are rendered; tracks are those of its key points."""
    clips = {clip.name: clip for clip in space.clips()} | dict(held_out or {})
    times = tuple(f / space.fps for f in range(space.frames))

    def frames():
        for name, clip in clips.items():
            for frame in range(space.frames):
                posed = space.scene.carry(clip.transforms[frame : frame + 1])
                for view, (image, alpha) in zip(VIEWS, render_views(posed, VIEWS), strict=True):
                    straight = (image - (1 - alpha)) / alpha.clamp(min=1e-6)
                    rgba = torch.cat([straight, alpha], -1).clamp(0, 1)
                    yield name, view.name, frame, (rgba * 255).round().byte().numpy()

    tracks = np.stack([clip.positions.detach().numpy() for clip in clips.values()]).astype(np.float32)
    return write(
        root,
        object="thing",
        prompt="a thing",
        licence="CC0-1.0",
        views=VIEWS,
        motions=[Motion(n, n, "train" if n in space.names else "held_out", False, times) for n in clips],
        frames=frames(),
        tracks={"tracks": tracks, "canonical": space.scene.keypoints.detach().numpy()},
    )
