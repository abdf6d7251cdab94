"""`dimo export`: what was trained, for other programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dimo_ns.cli.commands import Out, OutOrNone, Positional, Scene, bars, choice, note, say
from dimo_ns.cli.export_html import export_html, say_clamping

if TYPE_CHECKING:
    from dimo_ns.space.motion_space import Clip


def export_scene(run: Positional[Path], out: OutOrNone = None, overwrite: bool = False) -> None:
    """Write a trained scene to share: scene.safetensors and scene.json, which load with torch alone.

    Args:
        run: Folder of a training run, the one with config.yml.
        out: Folder to write to; by default the run's own.
        overwrite: Replace the scene if one is there.
    """
    from dimo_ns.runs import export_scene

    path = export_scene(run, out, overwrite)
    say(path, path.with_suffix(".json"))


def export_trajectories(
    scene: Scene, out: Out, motions: tuple[str, ...] = (), json: bool = False, overwrite: bool = False
) -> None:
    """Write the key points' motions as arrays: trajectories.npz (docs/export.md says what is in it).

    Args:
        scene: A scene.safetensors, its folder, or the folder of a training run.
        out: File to write, such as trajectories.npz.
        motions: By default all: names, FILE:ROW for a row of a file of latents, or blends such as walk:0.5,run:0.5.
        json: Write them as JSON too, beside it.
        overwrite: Replace the file if it is there.
    """
    from dimo_ns.runs import open_space
    from dimo_ns.space.choosing import chosen_clips
    from dimo_ns.space.trajectory_files import save_trajectories

    space = open_space(scene)
    path = save_trajectories(space, chosen_clips(space, motions), out, overwrite, json)
    say(path, *([path.with_suffix(".json")] if json else []))


def export_ply(
    scene: Scene,
    out: Out,
    motions: tuple[str, ...] = (),
    min_opacity: float = 0.0,
    up: Literal["y-down", "y", "z"] = "y-down",
    format: Literal["ply", "spz", "sog"] = "ply",
    overwrite: bool = False,
) -> None:
    """Write the Gaussians of every frame as .ply files that viewers of 3D Gaussian splatting read, and those at rest.

    Args:
        scene: A scene.safetensors, its folder, or the folder of a training run.
        out: Folder for canonical/canonical.ply and a folder of frames per motion.
        motions: By default all: names, FILE:ROW for a row of a file of latents, or blends such as walk:0.5,run:0.5.
        min_opacity: Leave out Gaussians that are less opaque.
        up: Which axis points up in the files: y-down for SuperSplat, PlayCanvas and Babylon (the convention of 3D
            Gaussian splatting, y points down), y for three.js and Spark, z for Blender and this project.
        format: ply, or smaller files, spz or sog, by splat-transform (npm install -g @playcanvas/splat-transform).
        overwrite: Replace the files if they are there.
    """
    from dimo_ns.export import ply
    from dimo_ns.runs import open_space
    from dimo_ns.space.choosing import chosen_clips

    space = open_space(scene)
    clips = chosen_clips(space, motions)
    with bars() as bar:
        ply.export_ply(space, clips, out, overwrite, min_opacity, bar("Writing frames"), up, format)
    say(out)
    say_clamping(space)
    say_rate(clips)


def export_glb(
    scene: Scene, out: Out, motions: tuple[str, ...] = (), min_opacity: float = 0.0, overwrite: bool = False
) -> None:
    """Write a .glb for engines and viewers: key points as joints, a skin, an animation per motion; and splats.glb.

    Args:
        scene: A scene.safetensors, its folder, or the folder of a training run.
        out: File to write, such as scene.glb; the splats are written to splats.glb beside it.
        motions: By default all: names, FILE:ROW for a row of a file of latents, or blends such as walk:0.5,run:0.5.
        min_opacity: Leave out Gaussians that are less opaque.
        overwrite: Replace the file if it is there.
    """
    from dimo_ns.export.gltf import export_gltf
    from dimo_ns.runs import open_space
    from dimo_ns.space.choosing import chosen_clips

    space = open_space(scene)
    say(*export_gltf(space, chosen_clips(space, motions), out, overwrite, min_opacity))
    say_clamping(space)


def export_all(scene: Scene, out: Out, motions: tuple[str, ...] = (), overwrite: bool = False) -> None:
    """Write everything: trajectories, .glb, web page, .ply files, and videos of the motions and of their trails.

    Args:
        scene: A scene.safetensors, its folder, or the folder of a training run.
        out: Folder for all of it.
        motions: By default all: names of the scene's motions.
        overwrite: Replace the files if they are there.
    """
    from dimo_ns.export import everything
    from dimo_ns.runs import open_space

    space = open_space(scene)
    clips = space.clips(motions or None)
    with bars() as bar:
        paths = everything.export_all(space, clips, out, overwrite, bar)
    say(*paths)
    say_clamping(space)
    say_rate(clips)


def say_rate(clips: Sequence["Clip"]) -> None:
    """Says how fast frames are to be played, which no format of splats can hold."""
    rates = sorted({f"{clip.fps:g}" for clip in clips}, key=float)
    note(f"programs that play the frames are to be told their rate: {' and '.join(rates)} per second.")


@dataclass
class Export:
    """Write what was trained in a form for other programs."""

    command: choice(  # pyright: ignore
        scene=export_scene,
        trajectories=export_trajectories,
        ply=export_ply,
        glb=export_glb,
        html=export_html,
        all=export_all,
    )
    """what to write"""
