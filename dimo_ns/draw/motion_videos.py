"""Videos of motions: one after another while the camera goes once around the object, and all side by side.

A motion is given as the transforms of the key points, one set per picture.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dimo_ns.core.cameras import Cameras, orbit
from dimo_ns.core.scene import Scene
from dimo_ns.core.types import RigidTransforms
from dimo_ns.draw.close_ups import fitting_size, visited, zoomed
from dimo_ns.draw.pictures import LINE, caption, take_pictures
from dimo_ns.files.videos import write_video

FPS, FRAMES_PER_MOTION, ORBIT_SIZE = 20.0, 32, (400, 480)
GRID_PIXELS, GRID_AZIMUTH, ELEVATION = 256, 40.0, 15.0
BATCH = 8


def trained_motions(scene: Scene, names: list[str], frames: int) -> dict[str, RigidTransforms]:
    """The motions of the latents, `names` in their order, at the times of the pictures of these videos."""
    t = playing_times(frames, FRAMES_PER_MOTION)
    return {name: transforms_at(scene, z, t) for name, z in zip(names, scene.latents.mu, strict=True)}


@torch.no_grad()
def transforms_at(scene: Scene, z: Float[Tensor, " d"], t: Float[Tensor, " b"]) -> RigidTransforms:
    """The key points' transforms [b, k, ...] under one latent at these times."""
    return scene.trajectory(z.expand(len(t), -1), t.to(z.device))


def playing_times(frames: int, count: int) -> Float[Tensor, " count"]:
    """The times of so many pictures that play a motion once; it is not known beyond its last frame."""
    return torch.linspace(0, (frames - 1) / frames, count)


def write_orbit_video(scene: Scene, motions: Mapping[str, RigidTransforms], path: Path, fps: float = FPS) -> Path:
    """Writes the motions one after another, while the camera goes once around the object."""
    count = sum(len(transforms.quats) for transforms in motions.values())
    around = orbit(torch.arange(count) * (360.0 / count) + GRID_AZIMUTH, ELEVATION, ORBIT_SIZE)
    cameras = zoomed(visited(scene, motions.values()), around, centred=True)
    images, start = [], 0
    for name, transforms in motions.items():
        here = cameras[start : start + len(transforms.quats)]
        images += [caption(image, name) for image in play(scene, transforms, here)]
        start += len(here)
    return write_video(path, np.stack(images), fps)


def write_grid_video(scene: Scene, motions: Mapping[str, RigidTransforms], path: Path, fps: float = FPS) -> Path:
    """Writes all motions at once, each in its own tile with its name; shorter ones wait in their last frame."""
    across = min(len(motions), math.ceil(math.sqrt(len(motions) * 1.6)))
    down = -(-len(motions) // across)
    count = max(len(transforms.quats) for transforms in motions.values())
    camera = orbit(torch.tensor([GRID_AZIMUTH]), ELEVATION, (GRID_PIXELS, GRID_PIXELS))
    points = visited(scene, motions.values())
    camera = zoomed(points, camera.resized(fitting_size(points, camera)))
    high, wide = camera.size[0] + LINE, camera.size[1]
    video = np.full((count, down * high, across * wide, 3), 255, np.uint8)
    for index, (name, transforms) in enumerate(motions.items()):
        row, column = divmod(index, across)
        tiles = video[:, row * high : (row + 1) * high, column * wide : (column + 1) * wide]
        pictures = play(scene, transforms, camera.expand(len(transforms.quats)))
        captioned = [caption(image, name) for image in pictures]
        tiles[: len(captioned)] = captioned
        tiles[len(captioned) :] = captioned[-1]
    return write_video(path, video, fps)


def play(scene: Scene, transforms: RigidTransforms, cameras: Cameras) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Draws the object under transforms [b, k, ...], each before its own of the cameras [b]."""
    parts = (slice(start, start + BATCH) for start in range(0, len(cameras), BATCH))
    with torch.no_grad():
        return [p.image for part in parts for p in take_pictures(scene.carry(transforms[part]), cameras[part])]
