"""A clip that is longer than what is denoised at once: chunks of frames, each beginning with a frame of the last."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from dimo_ns.errors import DimoError


def chunk_starts(frames: int, window: int) -> list[int]:
    """The first frames of the chunks of `window` frames that cover a clip; each but the first lies in the chunk before.

    The last chunk ends with the clip: 21 frames in chunks of 12 are 0-11 and 9-20. Raises DimoError for a clip that is
    shorter than one chunk.
    """
    if frames < window:
        raise DimoError(f"The clip has {frames} frames, and at least {window} are needed; make a longer one.")
    return [*range(0, frames - window, window - 1), frames - window]


def join(chunks: Sequence[UInt8[np.ndarray, "v w0 h w 3"]], frames: int) -> UInt8[np.ndarray, "v t h w 3"]:
    """The clip of so many frames that these chunks make; a frame of two chunks is taken from the later."""
    views, window, *image = chunks[0].shape
    clip = np.empty((views, frames, *image), np.uint8)
    for start, chunk in zip(chunk_starts(frames, window), chunks, strict=True):
        clip[:, start : start + window] = chunk
    return clip
