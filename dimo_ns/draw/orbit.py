"""Videos: a turn around the object while it goes through its motions, and all motions side by side.

A motion is given as the transforms of the key points, one set per picture.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from dimo_ns.core.scene import Scene
from dimo_ns.core.types import RigidTransforms
from dimo_ns.draw import picture

FPS, FRAMES_PER_MOTION, ORBIT_SIZE = 20, 32, (400, 480)
GRID_PIXELS, GRID_AZIMUTH, ELEVATION = 256, 40.0, 15.0
BATCH = 8


def trained_motions(scene: Scene, names: list[str], frames: int) -> dict[str, RigidTransforms]:
    """The motions of the latents, `names` in their order, at the times of the pictures of these videos."""
    t = times(frames, FRAMES_PER_MOTION)
    return {name: picture.motion(scene, z, t) for name, z in zip(names, scene.latents.mu, strict=True)}


def orbit(scene: Scene, motions: Mapping[str, RigidTransforms], path: Path, fps: float = FPS) -> Path:
    """H.264 video: the motions one after another, while the camera goes once around the object."""
    count = sum(len(transforms.quats) for transforms in motions.values())
    viewmats = picture.orbit(torch.arange(count) * (360.0 / count) + GRID_AZIMUTH, ELEVATION)
    seen = viewmats[:: max(1, count // 12)]
    K = picture.frame(picture.visited(scene, motions.values()), seen, ORBIT_SIZE, centred=True)
    images, start = [], 0
    for name, transforms in motions.items():
        here = viewmats[start : start + len(transforms.quats)]
        images += [picture.caption(image, name) for image in play(scene, transforms, here, K, ORBIT_SIZE)]
        start += len(here)
    return picture.write_video(path, np.stack(images), fps)


def grid(scene: Scene, motions: Mapping[str, RigidTransforms], path: Path, fps: float = FPS) -> Path:
    """H.264 video: all motions at once, each in its own tile with its name; shorter ones wait in their last frame."""
    across = min(len(motions), math.ceil(math.sqrt(len(motions) * 1.6)))
    down = -(-len(motions) // across)
    count = max(len(transforms.quats) for transforms in motions.values())
    viewmat = picture.orbit(torch.tensor([GRID_AZIMUTH]), ELEVATION)
    points = picture.visited(scene, motions.values())
    size = picture.shape(points, viewmat[0], GRID_PIXELS)
    high, wide = size[0] + picture.LINE, size[1]
    K = picture.frame(points, viewmat, size)
    video = np.full((count, down * high, across * wide, 3), 255, np.uint8)
    for index, (name, transforms) in enumerate(motions.items()):
        row, column = divmod(index, across)
        tiles = video[:, row * high : (row + 1) * high, column * wide : (column + 1) * wide]
        pictures = play(scene, transforms, viewmat.expand(len(transforms.quats), -1, -1), K, size)
        captioned = [picture.caption(image, name) for image in pictures]
        tiles[: len(captioned)] = captioned
        tiles[len(captioned) :] = captioned[-1]
    return picture.write_video(path, video, fps)


def times(frames: int, count: int) -> Float[torch.Tensor, " count"]:
    """The times of so many pictures that play a motion once; it is not known beyond its last frame."""
    return torch.linspace(0, (frames - 1) / frames, count)


@torch.no_grad()
def play(
    scene: Scene,
    transforms: RigidTransforms,
    viewmats: Float[torch.Tensor, "b 4 4"],
    K: Float[torch.Tensor, "3 3"],
    size: tuple[int, int],
) -> UInt8[np.ndarray, "b h w 3"]:
    """The object under transforms [b, k, ...], each before its own camera."""
    parts = []
    for start in range(0, len(viewmats), BATCH):
        part = slice(start, start + BATCH)
        views = viewmats[part]
        parts.append(picture.render(scene.carry(transforms[part]), views, K.expand(len(views), -1, -1), size)[0])
    return np.concatenate(parts)
