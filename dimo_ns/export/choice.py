"""The clips that a user means: motions by name, rows of files of latents, blends."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.apps.clips import find_latent
from dimo_ns.apps.interpolate import transition
from dimo_ns.errors import DimoError
from dimo_ns.space.motion_space import Clip, MotionSpace


def chosen_clips(space: MotionSpace, texts: Sequence[str] = ()) -> list[Clip]:
    """A clip for each text (`chosen_latent`), or all motions of the space if there is none. Raises DimoError."""
    if not texts:
        return space.clips()
    return [space.clip(*chosen_latent(space, text)) for text in texts]


def passage(space: MotionSpace, texts: Sequence[str] = ()) -> Clip:
    """One clip that passes from each of these (`chosen_latent`, or all motions) to the next. Raises DimoError."""
    latents = [chosen_latent(space, text)[1] for text in texts or space.names]
    return transition(space, torch.stack(latents))


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
