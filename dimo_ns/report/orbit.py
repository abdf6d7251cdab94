"""Videos: a turn around the object while it goes through its motions, and all motions side by side."""

import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from dimo_ns.core.scene import Scene
from dimo_ns.report import picture

FPS, FRAMES_PER_MOTION, ORBIT_SIZE = 20, 32, (400, 480)
GRID_PIXELS, GRID_AZIMUTH, ELEVATION = 256, 40.0, 15.0
BATCH = 8


def orbit(scene: Scene, motions: list[str], frames: int, path: Path) -> Path:
    """H.264 video: the motions one after another, while the camera goes once around the object."""
    each, count = FRAMES_PER_MOTION, FRAMES_PER_MOTION * len(motions)
    viewmats = picture.orbit(torch.arange(count) * (360.0 / count) + GRID_AZIMUTH, ELEVATION)
    K = picture.frame(
        picture.visited(scene, range(len(motions)), frames),
        viewmats[:: max(1, count // 12)],
        ORBIT_SIZE,
        centred=True,
    )
    images = []
    for motion, name in enumerate(motions):
        here = viewmats[motion * each : (motion + 1) * each]
        pictures = play(scene, motion, times(frames, each), here, K, ORBIT_SIZE)
        images += [picture.caption(image, name) for image in pictures]
    return picture.write_video(path, np.stack(images), FPS)


def grid(scene: Scene, motions: list[str], frames: int, path: Path) -> Path:
    """H.264 video: all motions at once, each in its own tile with its name."""
    across = min(len(motions), math.ceil(math.sqrt(len(motions) * 1.6)))
    down = -(-len(motions) // across)
    count = FRAMES_PER_MOTION
    viewmat = picture.orbit(torch.tensor([GRID_AZIMUTH]), ELEVATION)
    points = picture.visited(scene, range(len(motions)), frames)
    size = picture.shape(points, viewmat[0], GRID_PIXELS)
    high, wide = size[0] + picture.LINE, size[1]
    K = picture.frame(points, viewmat, size)
    video = np.full((count, down * high, across * wide, 3), 255, np.uint8)
    for motion, name in enumerate(motions):
        row, column = divmod(motion, across)
        tiles = video[:, row * high : (row + 1) * high, column * wide : (column + 1) * wide]
        pictures = play(scene, motion, times(frames, count), viewmat.expand(count, -1, -1), K, size)
        for image, tile in zip(pictures, tiles, strict=True):
            tile[:] = picture.caption(image, name)
    return picture.write_video(path, video, FPS)


def times(frames: int, count: int) -> Float[torch.Tensor, " count"]:
    """The times of so many pictures that play a motion once; it is not known beyond its last frame."""
    return torch.linspace(0, (frames - 1) / frames, count)


def play(
    scene: Scene,
    motion: int,
    t: Float[torch.Tensor, " b"],
    viewmats: Float[torch.Tensor, "b 4 4"],
    K: Float[torch.Tensor, "3 3"],
    size: tuple[int, int],
) -> UInt8[np.ndarray, "b h w 3"]:
    """A motion at these times, each before its own camera."""
    z = scene.latents.mu[motion].detach()
    parts = [
        picture.render(scene, z.expand(len(part), -1), part.to(z.device), views, K.expand(len(part), -1, -1), size)[0]
        for part, views in zip(t.split(BATCH), viewmats.split(BATCH), strict=True)
    ]
    return np.concatenate(parts)
