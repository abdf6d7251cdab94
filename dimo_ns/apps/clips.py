"""A folder of clips, as every app writes it: clips.json (what each is), latents.safetensors, clips.mp4 to look at.

Latents are one tensor, `latents`: [n, d], or [n, t, d] where they change in time; shorter clips are held in their last
frame. Its metadata has the `names` and `frames` of its rows, as JSON. Clips that are no image of latents have no row.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dimo_ns.core.types import RigidTransforms
from dimo_ns.draw.motion_videos import write_grid_video
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import check_unique
from dimo_ns.space.latent_files import LATENTS, write_latents
from dimo_ns.space.motion_space import Clip, MotionSpace

INFO, VIDEO = "clips.json", "clips.mp4"
VIDEO_CLIPS = 48
"""As many as the video shows, the first ones: more tiles are too small to see."""


def check_out(out: Path, overwrite: bool = False) -> None:
    """Raises DimoError if `out` is no place for a folder of clips: for a command to ask before it works for long."""
    try:
        taken = out.exists() and not (out.is_dir() and (overwrite or not any(out.iterdir())))
    except OSError as error:
        raise DimoError(f"The folder {out} cannot be read ({error.strerror}); choose another --out.") from error
    if taken and out.is_dir():
        raise DimoError(f"The folder {out} is not empty; choose another --out, or add --overwrite.")
    if taken:
        raise DimoError(f"There is a file at {out}, where a folder was to be made; choose another --out.")


def write_clips(
    space: MotionSpace,
    clips: Sequence[Clip],
    out: Path,
    overwrite: bool = False,
    about: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Writes these clips, of any lengths, to the folder `out`; `about` is what clips.json says of each, by its name.

    The files are written beside and renamed into place; with `overwrite` they replace those of the same names, and
    nothing else in the folder is touched. Raises DimoError if there are no clips, if two bear the same name, if the
    folder is not empty or cannot be written.
    """
    if not clips:
        raise DimoError("There are no clips to write.")
    check_unique([clip.name for clip in clips], "Two clips are named")
    check_out(out, overwrite)
    try:
        out.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=out))
        try:
            write_latents(clips, partial / LATENTS)
            described = {"object": space.info.object, "clips": [describe(clip, about or {}) for clip in clips]}
            (partial / INFO).write_text(json.dumps(described, indent=1, allow_nan=False) + "\n")
            write_video(space, clips[:VIDEO_CLIPS], partial / VIDEO)
            for name in (LATENTS, INFO, VIDEO):
                if (partial / name).exists():
                    (partial / name).replace(out / name)
                else:
                    (out / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise DimoError(
            f"The clips could not be written to {out} ({error.strerror}); make room, or choose another --out."
        ) from error


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
