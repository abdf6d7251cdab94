"""Trails of key points through each motion, drawn over the object: colour is time, hidden stretches are faint."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgba_array

from dimo_ns.core.cameras import Cameras, orbit
from dimo_ns.core.geometry import farthest_points
from dimo_ns.core.scene import Scene
from dimo_ns.draw import plotting
from dimo_ns.draw.close_ups import fitting_size, visited, zoomed
from dimo_ns.draw.motion_videos import transforms_at
from dimo_ns.draw.pictures import take_pictures
from dimo_ns.draw.trails import in_front

POINTS, PER_FRAME, PIXELS = 60, 4, 640
AZIMUTH, ELEVATION = 40.0, 18.0
FADED, HIDDEN = 0.5, 0.12
"""How much of the object is left under the trails; opacity of hidden stretches."""


def draw_tracks(scene: Scene, motions: list[str], frames: int, path: Path) -> Path:
    """Draws a panel per motion as a PNG; `motions` are names, in the order of the latents."""
    across = min(len(motions), 4 if len(motions) > 4 else len(motions))
    down = -(-len(motions) // across)
    camera = orbit(torch.tensor([AZIMUTH]), ELEVATION, (PIXELS, PIXELS))
    t = torch.arange(frames) / frames
    everywhere = visited(scene, (transforms_at(scene, z, t) for z in scene.latents.mu))
    camera = camera.resized(fitting_size(everywhere, camera))
    wide = 7.2 / across if across > 1 else 4.0
    high = wide * camera.size[0] / camera.size[1]
    width, height = wide * across, down * (high + 0.2) + 0.42
    with plotting.figure_style():
        figure = plotting.new_figure(figsize=(width, height))
        grid = figure.add_gridspec(
            down, across, left=0, right=1, top=1 - 0.2 / height, bottom=0.42 / height, wspace=0.02, hspace=0.2 / high
        )
        for index, name in enumerate(motions):
            axes = figure.add_subplot(grid[index // across, index % across])
            axes.set_title(name, fontsize=9, pad=3, parse_math=False)
            axes.axis("off")
            _panel(axes, scene, index, frames, camera)
        bar = figure.add_axes((0.5 - 0.9 / width, 0.26 / height, 1.8 / width, 0.07 / height))
        colours = ScalarMappable(Normalize(0, 1), plotting.TIME)
        figure.colorbar(colours, cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
        bar.set_xticklabels(["first frame", "time", "last frame"])
        bar.tick_params(labelsize=7, length=0, pad=2)
        bar.spines[:].set_visible(False)
        plotting.save(figure, path)
    return path


@torch.no_grad()
def _panel(axes, scene: Scene, motion: int, frames: int, camera: Cameras) -> None:
    """One motion: the object in its last frame, faded, and the trails up to there."""
    steps = PER_FRAME * (frames - 1) + 1
    transforms = transforms_at(scene, scene.latents.mu[motion], torch.linspace(0, (frames - 1) / frames, steps))
    camera = zoomed(visited(scene, [transforms[::PER_FRAME]]), camera)
    (picture,) = take_pictures(scene.carry(transforms[-1:]), camera)
    axes.imshow((255 - (255.0 - picture.image) * FADED).round().astype(np.uint8), interpolation="lanczos")

    chosen = farthest_points(scene.keypoints, min(POINTS, len(scene.keypoints)))
    moved = scene.keypoints[chosen] + transforms.translations[:, chosen]
    pixels = camera[0].project(moved.cpu()).numpy()  # [steps, points, 3]
    seen = in_front(pixels, picture.alpha, picture.depth)
    shown = np.argsort(-pixels[-1, :, 2])  # far ones first
    lines, colours, widths = [], [], []
    ramp = plotting.TIME(np.linspace(0, 1, steps - 1))
    for k in shown:
        track = pixels[:, k, :2] - 0.5
        lines.append(np.stack([track[:-1], track[1:]], 1))
        rgba = ramp.copy()
        rgba[:, 3] = np.where(seen[1:, k], 0.95, HIDDEN)
        colours.append(rgba)
        widths.append(np.linspace(0.35, 1.3, steps - 1))
    segments = np.concatenate(lines)
    axes.add_collection(
        LineCollection(
            list(segments),
            colors=np.concatenate(colours),
            linewidths=np.concatenate(widths),
            capstyle="round",
            clip_on=False,
        )
    )
    heads = to_rgba_array([plotting.TIME(1.0)] * len(shown))
    heads[:, 3] = np.where(seen[-1, shown], 1.0, HIDDEN)
    axes.scatter(
        *(pixels[-1, shown, :2] - 0.5).T,
        s=5,
        c=heads,
        clip_on=False,
        linewidths=0.3,
        edgecolors=[(1, 1, 1, a) for a in heads[:, 3]],
    )
    axes.set_xlim(-0.5, camera.size[1] - 0.5)
    axes.set_ylim(camera.size[0] - 0.5, -0.5)
