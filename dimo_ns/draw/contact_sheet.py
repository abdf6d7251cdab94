"""The contact sheet: truth, render and error of every motion at several frames, before one held-out camera."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from dimo_ns.core.scene import Scene
from dimo_ns.data.dataset import Dataset, View, cameras_of
from dimo_ns.data.frames import read_clip
from dimo_ns.draw import plotting, style
from dimo_ns.draw.motion_videos import transforms_at
from dimo_ns.draw.pictures import take_pictures
from dimo_ns.errors import DimoError

COLUMNS = 6
CELL = 1.0
"""Width of an image in inches."""
ERROR_AT_MOST = 0.3
"""Mean absolute difference of the colours that has the last colour of the scale."""


def draw_contact_sheet(scene: Scene, dataset: Dataset, motions: list[str], path: Path) -> Path:
    """Draws a PNG; `motions` are names in the order of the latents. Raises DimoError for frames that cannot be read."""
    view = (dataset.test_views or dataset.train_views)[0]
    blocks = [_block(scene, dataset, view, name, z) for name, z in zip(motions, scene.latents.mu, strict=True)]
    top, bottom, left, right = crop([truth for truth, _, _ in blocks])
    high, wide = bottom - top, right - left
    across = 2 if len(blocks) > 4 else 1
    down = -(-len(blocks) // across)
    columns = max(len(truth) for truth, _, _ in blocks)
    block_height = 3 * CELL * high / wide
    width, height = across * (columns * CELL + 0.45), down * (block_height + 0.5) + 0.55
    with plotting.figure_style():
        figure = plotting.new_figure(figsize=(width, height))
        grid = figure.add_gridspec(
            down, across, left=0.4 / width, right=1 - 0.05 / width, top=1 - 0.45 / height, bottom=0.55 / height,
            hspace=0.5 / block_height, wspace=0.45 / (columns * CELL),
        )  # fmt: skip
        for index, (name, (truth, render, frames)) in enumerate(zip(motions, blocks, strict=True)):
            error = np.abs(truth.astype(np.float32) - render).mean(-1) / 255
            rows = [truth, render, (plotting.ERROR(error / ERROR_AT_MOST)[..., :3] * 255).round().astype(np.uint8)]
            montage = np.full((3 * high, columns * wide, 3), 255, np.uint8)
            for y, row in enumerate(rows):
                for x, image in enumerate(row):
                    place = montage[y * high : (y + 1) * high, x * wide : (x + 1) * wide]
                    place[:] = image[top:bottom, left:right]
            axes = figure.add_subplot(grid[index % down, index // down])
            axes.imshow(montage, interpolation="lanczos")
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0, labelsize=7, pad=2)
            axes.xaxis.tick_top()
            axes.set_xticks((np.arange(len(frames)) + 0.5) * wide, [f"frame {frame}" for frame in frames])
            axes.set_yticks((np.arange(3) + 0.5) * high, ["truth", "render", "error"], rotation=90, va="center")
            axes.set_title(name, fontsize=10, loc="left", pad=4, parse_math=False)
        bar = figure.add_axes((0.4 / width, 0.3 / height, 1.6 / width, 0.07 / height))
        colours = ScalarMappable(Normalize(0, ERROR_AT_MOST), plotting.ERROR)
        figure.colorbar(colours, cax=bar, orientation="horizontal", ticks=[0, 0.1, 0.2, 0.3])
        bar.tick_params(labelsize=6, length=2)
        held_out = "held-out" if view.split == "test" else "training"
        figure.text(
            2.2 / width, 0.33 / height, f"mean absolute error of the colours;  {held_out} camera {view.name}",
            fontsize=7, color=style.GREY, va="center", parse_math=False,
        )  # fmt: skip
        plotting.save(figure, path)
    return path


def _block(
    scene: Scene, dataset: Dataset, view: View, motion: str, z: torch.Tensor
) -> tuple[UInt8[np.ndarray, "c h w 3"], UInt8[np.ndarray, "c h w 3"], list[int]]:
    """Truth and render over white at the frames of the columns."""
    present = [f for f in range(dataset.frames) if (motion, view.name, f) in dataset.sources]
    chosen = [present[i] for i in np.unique(np.linspace(0, len(present) - 1, COLUMNS).round().astype(int))]
    images = {}
    for frame, rgba in read_clip(dataset, motion, view.name):
        if isinstance(rgba, DimoError):
            raise rgba
        if frame in chosen:
            alpha = rgba[..., 3:] / np.float32(255)
            images[frame] = (rgba[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    posed = scene.carry(transforms_at(scene, z, torch.tensor(chosen) / dataset.frames))
    pictures = take_pictures(posed, cameras_of([view]).expand(len(chosen)))
    return np.stack([images[f] for f in chosen]), np.stack([picture.image for picture in pictures]), chosen


def crop(images: list[UInt8[np.ndarray, "_ h w 3"]]) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what is not white in any of the images, and a little around it."""
    drawn = np.any([(block < 250).any((0, -1)) for block in images], 0)
    if not drawn.any():
        return 0, drawn.shape[0], 0, drawn.shape[1]
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    margin = round(0.03 * max(drawn.shape))
    return (
        max(0, int(rows[0]) - margin), min(drawn.shape[0], int(rows[-1]) + 1 + margin),
        max(0, int(columns[0]) - margin), min(drawn.shape[1], int(columns[-1]) + 1 + margin),
    )  # fmt: skip
