"""Tiny datasets: a soft-edged disc that moves, 2 motions x 3 views x 4 frames of 32 x 32."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dimo_ns.data.format import Dataset, Motion, orbit_view, write

SIZE, FRAMES = 32, 4
MOTIONS = ("walk", "jump")
VIEWS = ("view_00", "view_01", "test_00")


def disc(motion: int, view: int, frame: int, size: int = SIZE) -> np.ndarray:
    """Straight uint8 RGBA: a disc with a soft edge, another place and colour for every motion, view and frame."""
    y, x = np.mgrid[:size, :size] + 0.5
    centre = size / 2 + np.array([motion - 0.5, frame - 1.5]) * size / 16
    alpha = np.clip(size / 4 - np.hypot(x - centre[0], y - centre[1]), 0, 1)
    colour = [200 - 40 * view, 40 + 60 * motion, 30 + 50 * frame]
    rgba = np.concatenate([np.broadcast_to(colour, (size, size, 3)), np.round(255 * alpha)[..., None]], axis=-1)
    return np.where(alpha[..., None] > 0, rgba, 0).astype(np.uint8)


def all_frames() -> Iterator[tuple[str, str, int, np.ndarray]]:
    for m, motion in enumerate(MOTIONS):
        for v, view in enumerate(VIEWS):
            for f in range(FRAMES):
                yield motion, view, f, disc(m, v, f)


def write_tiny(root: Path, **changes: Any) -> Dataset:
    parts: dict[str, Any] = {
        "object": "disc",
        "prompt": "a disc",
        "licence": "CC0-1.0",
        "views": [
            orbit_view(name, name[:-3].replace("view", "train"), 120.0 * i, 10.0 * i, SIZE)
            for i, name in enumerate(VIEWS)
        ],
        "motions": [Motion(n, f"a disc that {n}s", "train", True, (0.0, 0.1, 0.2, 0.3)) for n in MOTIONS],
        "frames": all_frames(),
    }
    return write(root, **(parts | changes))


def on_white(rgba: np.ndarray) -> np.ndarray:
    """The picture over white, uint8 RGB."""
    alpha = rgba[..., 3:] / 255.0
    return np.round(rgba[..., :3] * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)
