"""The clips that a user means: motions by name, rows of files of latents, blends."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.errors import DimoError
from dimo_ns.space.latent_files import read_latents
from dimo_ns.space.motion_space import Clip, MotionSpace


def chosen_clips(space: MotionSpace, texts: Sequence[str] = ()) -> list[Clip]:
    """A clip for each text (`chosen_latent`), or all motions of the space if there is none. Raises DimoError."""
    if not texts:
        return space.clips()
    return [space.clip(*chosen_latent(space, text)) for text in texts]


def chosen_latent(space: MotionSpace, text: str) -> tuple[str, Float[Tensor, " d"]]:
    """The name and the latent of a motion ('walk'), of a row of a file of latents ('samples:3'), or of a blend of such
    with their shares ('walk:0.5,run:0.5'), which are divided by their sum. Raises DimoError."""
    if "," not in text or text in space.names:
        return find_latent(space, text)
    names, latents, shares = [], [], []
    for part in text.split(","):
        motion, _, share = part.rpartition(":")
        try:
            shares.append(float(share))
        except ValueError as error:
            raise DimoError(f"'{part}' in '{text}' is no motion with its share; expected, say, walk:0.5.") from error
        name, latent = find_latent(space, motion)
        names.append(f"{name}_{share}")
        latents.append(latent)
    weights = torch.tensor(shares, device=space.device)
    if not torch.isfinite(weights).all() or abs(float(weights.sum())) < 1e-6:
        raise DimoError(f"The shares in '{text}' have no sum to divide them by; expected, say, walk:0.5,run:0.5.")
    return "_".join(names), (weights[:, None] * torch.stack(latents)).sum(0) / weights.sum()


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
