"""Latents in a file, latents.safetensors: one tensor, `latents`, with the names of its rows.

[n, d], or [n, t, d] where they change in time; shorter clips are held in their last frame. The metadata has the `names`
and `frames` of the rows, as JSON. Clips that are no image of latents have no row.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dimo_ns.errors import DimoError
from dimo_ns.files.opening import MAX_TENSOR_BYTES, regular
from dimo_ns.space.motion_space import Clip, MotionSpace

LATENTS = "latents.safetensors"


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
        with safe_open(regular(path, MAX_TENSOR_BYTES), framework="pt") as file:
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


def is_list_of(value: object, kind: type, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(type(entry) is kind for entry in value)
