"""A folder of clips, as every app writes it.

clips.json             what each clip is
latents.safetensors    space/latent_files.py; not there if no clip is an image of latents
trajectories.npz       space/trajectory_files.py; not there if the clips are not all of one length
clips.mp4              to look at: all of them side by side
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dimo_ns.core.types import RigidTransforms
from dimo_ns.draw.motion_videos import write_grid_video
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import check_unique
from dimo_ns.files.output import check_free, complete
from dimo_ns.space.latent_files import LATENTS, write_latents
from dimo_ns.space.motion_space import Clip, MotionSpace
from dimo_ns.space.trajectory_files import TRAJECTORIES, write_trajectories

INFO, VIDEO = "clips.json", "clips.mp4"
FILES = (LATENTS, INFO, TRAJECTORIES, VIDEO)
VIDEO_CLIPS = 48
"""How many the video shows, the first ones: more tiles are too small to see."""


def write_clips(
    space: MotionSpace,
    clips: Sequence[Clip],
    out: Path,
    overwrite: bool = False,
    about: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Writes these clips, of any lengths, to the folder `out`; `about` is what clips.json says of each, by its name.

    All files or none are written; with `overwrite` they replace those of the same names, and nothing else in the folder
    is touched. Raises DimoError if there are no clips, if two bear the same name, if the folder is not empty or cannot
    be written.
    """
    check_free(out, overwrite=overwrite)
    with complete(out, FILES, overwrite=True, what="The clips") as folder:
        fill_folder(space, clips, folder, about)


def fill_folder(
    space: MotionSpace, clips: Sequence[Clip], folder: Path, about: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Makes the files of these clips in an empty folder. Raises DimoError as `write_clips`, OSError from the disk."""
    if not clips:
        raise DimoError("There are no clips to write.")
    check_unique([clip.name for clip in clips], "Two clips are named")
    write_latents(clips, folder / LATENTS)
    described = {"object": space.info.object, "clips": [describe(clip, about or {}) for clip in clips]}
    (folder / INFO).write_text(json.dumps(described, indent=1, allow_nan=False) + "\n")
    write_trajectories(space, clips, folder / TRAJECTORIES)
    write_video(space, clips[:VIDEO_CLIPS], folder / VIDEO)


def describe(clip: Clip, about: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What clips.json says of one clip."""
    return {"name": clip.name, "frames": len(clip), "fps": clip.fps, "loop": clip.loop, **about.get(clip.name, {})}


def write_video(space: MotionSpace, clips: Sequence[Clip], path: Path) -> None:
    """All clips side by side and at their own speeds, each in its tile with its name."""
    rate = max(1.0, *(clip.fps for clip in clips))
    write_grid_video(space.scene, {clip.name: at_rate(clip, rate) for clip in clips}, path, rate)


def at_rate(clip: Clip, rate: float) -> RigidTransforms:
    """The clip's transforms for playing at `rate` frames per second: its frames, repeated as needed."""
    count = round(len(clip) * rate / clip.fps)
    return clip.transforms[(torch.arange(count) * (clip.fps / rate)).long().clamp(max=len(clip) - 1)]
