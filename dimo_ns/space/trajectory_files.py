"""Key point trajectories in a file: trajectories.npz, and for small scenes the same as JSON (docs/export.md).

    names [m]                 of the motions
    fps [m], loop [m]         frames per second; whether the last frame leads to the first
    times [t]                 what the decoder was given, f / T in [0, 1)
    times_s [m, t]            seconds
    keypoints [k, 3]          canonical places
    positions [m, t, k, 3]    where they are
    quats [m, t, k, 4]        how they are turned, wxyz, unit length
    neighbours [n, j]         the key points that carry each Gaussian, nearest first
    weights [n, j]            and how much; rows sum to one
    latents [m, t, d]         of every frame; NaN where a motion is no image of latents

World frame: z-up, the object in a ball of radius about 0.5 at the origin.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dimo_ns.errors import DimoError
from dimo_ns.files.fields import check_unique
from dimo_ns.files.output import complete
from dimo_ns.space.motion_space import Clip, MotionSpace

TRAJECTORIES = "trajectories.npz"
MAX_JSON_NUMBERS = 4_000_000


def save_trajectories(
    space: MotionSpace, clips: Sequence[Clip], path: Path, overwrite: bool = False, as_json: bool = False
) -> Path:
    """Writes the trajectories of these clips, all of one length, to the .npz file `path`, and returns it; `as_json`: to
    the .json file beside it too. Raises DimoError for other clips, or if nothing can be written."""
    if path.suffix != ".npz":
        raise DimoError(f"Trajectories are written to an .npz file, and {path.name} is none.")
    arrays = trajectories(space, clips)
    names = [path.name, path.with_suffix(".json").name][: 2 if as_json else 1]
    with complete(path.parent, names, overwrite) as partial:
        np.savez(partial / path.name, **arrays)  # pyright: ignore
        if as_json:
            (partial / names[1]).write_text(to_json(arrays))
    return path


def write_trajectories(space: MotionSpace, clips: Sequence[Clip], path: Path) -> None:
    """The trajectories of those clips that are all of one length; no file if they are not."""
    if len({len(clip) for clip in clips}) == 1:
        np.savez(path, **trajectories(space, clips))  # pyright: ignore


@torch.no_grad()
def trajectories(space: MotionSpace, clips: Sequence[Clip]) -> dict[str, np.ndarray]:
    """The arrays above. Raises DimoError if there are no clips, if they differ in length, or if two bear one name."""
    if not clips:
        raise DimoError("There are no motions to export.")
    check_unique([clip.name for clip in clips], "Two of the motions are named")
    frames = len(clips[0])
    for clip in clips:
        if len(clip) != frames:
            raise DimoError(
                f"Motions of one file are equally long, but '{clips[0].name}' has {frames} frames and '{clip.name}' "
                f"{len(clip)}; export them one by one."
            )
    scene = space.scene
    skinning = scene.skinning_weights()
    unknown = torch.full((frames, space.mu.shape[1]), torch.nan)
    fps = np.array([clip.fps for clip in clips])

    def stack(tensors: Sequence[torch.Tensor]) -> np.ndarray:
        return torch.stack([tensor.detach().float().cpu() for tensor in tensors]).numpy()

    return {
        "names": np.array([clip.name for clip in clips]),
        "fps": fps,
        "loop": np.array([clip.loop for clip in clips]),
        "times": (np.arange(frames) / frames).astype(np.float32),
        "times_s": np.arange(frames) / fps[:, None],
        "keypoints": scene.keypoints.cpu().numpy(),
        "positions": stack([clip.positions for clip in clips]),
        "quats": stack([clip.transforms.quats for clip in clips]),
        "neighbours": skinning.indices.cpu().numpy().astype(np.int32),
        "weights": skinning.weights.cpu().numpy(),
        "latents": stack([unknown if clip.latents is None else clip.latents for clip in clips]),
    }


def to_json(arrays: dict[str, np.ndarray]) -> str:
    """The arrays as nested lists under the same names: six decimals, null for NaN. Raises DimoError if there are too
    many numbers for a text that anyone would read."""
    count = sum(array.size for array in arrays.values())
    if count > MAX_JSON_NUMBERS:
        raise DimoError(
            f"These trajectories are {count:,} numbers, too many for JSON ({MAX_JSON_NUMBERS:,}); choose fewer "
            "motions, or take the .npz alone."
        )
    return json.dumps({name: _listed(array) for name, array in arrays.items()}, allow_nan=False) + "\n"


def _listed(array: np.ndarray) -> Any:
    if array.dtype.kind != "f":
        return array.tolist()
    rounded = array.astype(np.float64).round(6).astype(object)
    rounded[np.isnan(array)] = None
    return rounded.tolist()
