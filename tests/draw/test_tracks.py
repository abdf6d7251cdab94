"""Trails of key points: drawn where they went, in the colours of time."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dimo_ns.draw import plotting
from dimo_ns.draw.tracks import draw_tracks
from tests.spaces import FRAMES, NAMES, some_space


def coloured(path: Path, share: float) -> int:
    """How many pixels have the colour of a time, above the bar that explains the colours."""
    image = np.asarray(Image.open(path).convert("RGB")).astype(int)
    image = image[: int(0.85 * len(image))]
    return int((np.abs(image - 255 * np.array(plotting.TIME(share)[:3])).max(-1) < 12).sum())


def test_what_moves_leaves_a_trail_and_what_rests_a_dot(tmp_path: Path):
    """A single key point in an object that is nearly invisible: its way has the colours of all times, or only the
    last one."""
    scene = some_space("mlp").scene
    scene.gaussians.logit_opacities.data.fill_(-2.0)
    scene.gaussians.logit_opacities.data[:20] = 0.0
    scene.gaussians.colors.data.fill_(1.0)
    moving = draw_tracks(scene, list(NAMES), FRAMES, tmp_path / "moving.png")
    for parameter in scene.decoder.parameters():
        torch.nn.init.zeros_(parameter)
    resting = draw_tracks(scene, list(NAMES), FRAMES, tmp_path / "resting.png")
    assert coloured(resting, 1.0) > 100
    assert coloured(resting, 0.3) == 0
    assert coloured(moving, 0.3) > 20
