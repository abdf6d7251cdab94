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
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dimo_ns.core.types import RigidTransforms
from dimo_ns.data.fields import check_unique
from dimo_ns.errors import DimoError
from dimo_ns.report.orbit import grid
from dimo_ns.space.motion_space import Clip, MotionSpace

INFO, LATENTS, VIDEO = "clips.json", "latents.safetensors", "clips.mp4"
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
            described = {"object": space.info.get("object"), "clips": [describe(clip, about or {}) for clip in clips]}
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


def write_latents(clips: Sequence[Clip], path: Path) -> None:
    """The latents of those clips that are images of latents; no file if none is."""
    rows = [(clip.name, clip.latents.detach().cpu()) for clip in clips if clip.latents is not None]
    if not rows:
        return
    if all((z == z[0]).all() for _, z in rows):
        latents = torch.stack([z[0] for _, z in rows])
    else:
        longest = max(len(z) for _, z in rows)
        latents = torch.stack([torch.cat([z, z[-1:].expand(longest - len(z), -1)]) for _, z in rows])
    metadata = {"names": [name for name, _ in rows], "frames": [len(z) for _, z in rows]}
    tensors = {"latents": latents.contiguous()}
    path.write_bytes(save(tensors, {key: json.dumps(value) for key, value in metadata.items()}))


def read_latents(path: Path, space: MotionSpace) -> dict[str, Float[Tensor, "*t d"]]:
    """The latents in a file that `write_clips` wrote (or in its folder), by the names of the clips, on the space's
    device: [d] each, or [t, d] where they change in time.

    A file without names, made elsewhere, is read too: its rows are called 0, 1, 2, ... Raises DimoError if there is no
    such file, or if what it holds are not latents of this space.
    """
    path = path / LATENTS if path.is_dir() else path
    try:
        with safe_open(path, framework="pt") as file:
            metadata, latents = file.metadata() or {}, file.get_tensor("latents")
        names, frames = (json.loads(metadata.get(key, "null")) for key in ("names", "frames"))
    except OSError as error:
        raise DimoError(f"There are no latents at {path} ({error.strerror or error}).") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise DimoError(f"The file {path} does not hold latents as dimo writes them ({error}).") from error
    where = f"The latents in {path}"
    checked = space.check_latents(latents.flatten(0, -2) if latents.ndim == 3 else latents, where)
    rows = list(checked.view(latents.shape) if latents.ndim == 3 else checked)
    names = [str(i) for i in range(len(rows))] if names is None else names
    if not is_list_of(names, str, len(rows)) or len(set(names)) != len(names):
        raise DimoError(f"{where} are {len(rows)} rows without a name of its own for each; write them again.")
    if latents.ndim == 3 and frames is not None:
        if not is_list_of(frames, int, len(rows)) or not all(0 < count <= latents.shape[1] for count in frames):
            raise DimoError(f"{where} do not say how many frames each has; write them again.")
        rows = [z[:count] for z, count in zip(rows, frames, strict=True)]
    return dict(zip(names, rows, strict=True))


def find_latent(space: MotionSpace, text: str) -> tuple[str, Float[Tensor, " d"]]:
    """The name and the latent that a user means by `text`: a motion of the space, or FILE:ROW, a row of a file of
    latents by its name or its number from 0. Raises DimoError."""
    file, colon, row = text.rpartition(":")
    if text in space.names or not colon:
        return text, space.latents(text)[0]
    rows = read_latents(Path(file), space)
    names = list(rows)
    name = row if row in rows else names[int(row)] if row.isdecimal() and int(row) < len(names) else None
    if name is None:
        raise DimoError(
            f"The latents in {file} have no row '{row}'; expected one of {', '.join(names[:10])}, or a number."
        )
    if rows[name].ndim > 1:
        raise DimoError(f"The latent '{row}' in {file} changes in time; expected one that does not.")
    return name, rows[name]


def is_list_of(value: object, kind: type, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(type(entry) is kind for entry in value)


def write_video(space: MotionSpace, clips: Sequence[Clip], path: Path) -> None:
    """All clips side by side and at their own speeds, each in its tile with its name."""
    rate = max(1.0, *(clip.fps for clip in clips))
    grid(space.scene, {clip.name: at_rate(clip, rate) for clip in clips}, path, rate)


def at_rate(clip: Clip, rate: float) -> RigidTransforms:
    """The clip's transforms for playing at `rate` frames per second: its frames, repeated as needed."""
    count = round(len(clip) * rate / clip.fps)
    return clip.transforms[(torch.arange(count) * (clip.fps / rate)).long().clamp(max=len(clip) - 1)]
