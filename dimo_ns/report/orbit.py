"""Videos: a turn around the object while it goes through its motions, and all motions side by side."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from dimo_ns.core.scene import Scene
from dimo_ns.report import picture

FPS, SECONDS_PER_MOTION, ORBIT_PIXELS = 24, 2.0, 448
GRID_PIXELS, GRID_AZIMUTH, ELEVATION = 224, 40.0, 15.0
GRID_SECONDS = 2.5
BATCH = 8


def orbit(scene: Scene, motions: list[str], frames: int, path: Path) -> Path:
    """H.264 video: the motions one after another, while the camera goes once around the object."""
    each = round(FPS * SECONDS_PER_MOTION)
    count = each * len(motions)
    viewmats = picture.orbit(torch.arange(count) * (360.0 / count) + GRID_AZIMUTH, ELEVATION)
    K = picture.frame(
        picture.visited(scene, range(len(motions)), frames),
        viewmats[:: max(1, count // 12)],
        (ORBIT_PIXELS, ORBIT_PIXELS),
        centred=True,
    )
    images = []
    for motion, name in enumerate(motions):
        here = viewmats[motion * each : (motion + 1) * each]
        pictures = play(scene, motion, times(frames, each), here, K, ORBIT_PIXELS)
        images += [picture.caption(image, name, 17) for image in pictures]
    return picture.write_video(path, np.stack(images), FPS)


def grid(scene: Scene, motions: list[str], frames: int, path: Path) -> Path:
    """H.264 video: all motions at once, each in its own tile with its name."""
    across = int(np.ceil(np.sqrt(len(motions) * 1.6)))
    across = min(len(motions), across)
    down = -(-len(motions) // across)
    count = round(FPS * GRID_SECONDS)
    viewmat = picture.orbit(torch.tensor([GRID_AZIMUTH]), ELEVATION)
    K = picture.frame(picture.visited(scene, range(len(motions)), frames), viewmat, (GRID_PIXELS, GRID_PIXELS))
    video = np.full((count, down * GRID_PIXELS, across * GRID_PIXELS, 3), 255, np.uint8)
    for motion, name in enumerate(motions):
        y, x = (side * GRID_PIXELS for side in divmod(motion, across))
        pictures = play(scene, motion, times(frames, count), viewmat.expand(count, -1, -1), K, GRID_PIXELS)
        for image, place in zip(pictures, video[:, y : y + GRID_PIXELS, x : x + GRID_PIXELS], strict=True):
            place[:] = picture.caption(image, name, 12)
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
    pixels: int,
) -> UInt8[np.ndarray, "b h w 3"]:
    """A motion at these times, each before its own camera."""
    z = scene.latents.mu[motion].detach()
    parts = [
        picture.render(
            scene, z.expand(len(part), -1), part.to(z.device), views, K.expand(len(part), -1, -1), (pixels, pixels)
        )[0]
        for part, views in zip(t.split(BATCH), viewmats.split(BATCH), strict=True)
    ]
    return np.concatenate(parts)
