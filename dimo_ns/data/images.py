"""Which pixels are the object: the frames of a dataset as uint8 RGBA with straight alpha.

A picture's alpha is

1. its own alpha channel, unless that is 255 everywhere;
2. else a mask file beside it (`00_mask.npy` for `00.png`: bool, 0..1 or 0..255; or a grey picture, `00_mask.png`);
3. else the distance to white d = 255 - min(r, g, b): transparent for d <= 5, opaque for d >= 25, linear between. It
   needs a white border (at least half of the border pixels with d <= 5), and white parts of the object are lost.

In cases 2 and 3 the picture is taken as the object over white, and the white is taken out of the colours again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
from jaxtyping import UInt8

from dimo_ns.data.image_files import BROKEN, MAX_IMAGE_BYTES, Rgba, read_image
from dimo_ns.data.video_files import read_frames
from dimo_ns.errors import DimoError
from dimo_ns.files.opening import regular

WHITE_CLEAR, WHITE_SOLID = 5, 25  # distance to white: transparent up to the first, opaque from the second
GREY = 16
"""What the channels of a mask may differ by: a JPEG's are not quite equal."""

_ALPHA_OF_DARKEST = np.round(
    255 * np.clip((255 - np.arange(256) - WHITE_CLEAR) / (WHITE_SOLID - WHITE_CLEAR), 0, 1)
).astype(np.uint8)


@dataclass(frozen=True)
class Source:
    """Where one frame of a dataset is: an image, perhaps with a mask beside it, or a frame of a video."""

    path: Path
    size_bytes: int
    has_alpha: bool
    mask: Path | None = None
    video_frame: int | None = None
    """Index among the decoded frames of the video `path`."""


def read_rgba(source: Source) -> Rgba:
    """One frame [h, w, 4], straight alpha. Raises DimoError if it is damaged or has no alpha and no white border."""
    if source.video_frame is not None:
        return next(read_video(source.path, [source.video_frame]))
    return _own_alpha_or(read_image(source.path), source.path, source.mask)


def read_video(path: Path, indices: Sequence[int]) -> Iterator[Rgba]:
    """The frames with these ascending indices, one after the other, straight alpha. Raises DimoError as `read_rgba`."""
    return (_own_alpha_or(frame, path) for frame in read_frames(path, indices))


def alpha_from_white(rgb: UInt8[np.ndarray, "h w 3"], path: Path) -> Rgba:
    """RGBA of an object over white, by rule 3 above. Raises DimoError naming `path` if the border is not white."""
    if not _white_border(rgb):
        raise DimoError(
            f"The picture {path} has neither transparency nor a white background; give it an alpha channel or a mask."
        )
    darkest = np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
    return _take_out_white(rgb, _ALPHA_OF_DARKEST[darkest])


def _own_alpha_or(rgba: Rgba, path: Path, mask: Path | None = None) -> Rgba:
    """The picture, with alpha from its mask or from white if it has none of its own."""
    if rgba[..., 3].min() < 255:
        return rgba
    if mask is not None:
        return _take_out_white(rgba[..., :3], _read_mask(mask, rgba.shape[:2]))
    return alpha_from_white(rgba[..., :3], path)


def _white_border(rgb: UInt8[np.ndarray, "h w 3"]) -> bool:
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    return float(np.mean(border.min(axis=-1) >= 255 - WHITE_CLEAR)) >= 0.5


def _take_out_white(rgb: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w"]) -> Rgba:
    rgba = np.dstack([rgb, alpha])
    rgba[alpha == 0] = 0
    edge = (alpha > 0) & (alpha < 255)
    share = alpha[edge, None] / 255.0
    rgba[edge, :3] = np.clip(np.round((rgb[edge] - 255.0 * (1.0 - share)) / share), 0, 255)
    return rgba


def _read_mask(path: Path, shape: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """The mask as alpha."""
    mask = _stored_mask(path) if path.suffix == ".npy" else _pictured_mask(path)
    if mask.shape not in (shape, (*shape, 1), (1, *shape)) or mask.dtype.kind not in "buif":
        raise DimoError(
            f"The mask {path} is {mask.dtype}{list(mask.shape)}; expected numbers {list(shape)} as the image."
        )
    mask = np.asarray(mask, np.float64).reshape(shape)
    if not np.isfinite(mask).all() or mask.min() < 0 or mask.max() > 255:
        raise DimoError(f"The mask {path} has values outside 0..1 and 0..255.")
    return np.round(mask if mask.max() > 1 else 255.0 * mask).astype(np.uint8)


def _stored_mask(path: Path) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(regular(path, MAX_IMAGE_BYTES), mode="r")
    except (*BROKEN, TokenError, OverflowError, MemoryError, TypeError) as error:
        raise DimoError(f"The mask {path} is not a readable .npy array ({error}).") from error


def _pictured_mask(path: Path) -> UInt8[np.ndarray, "h w"]:
    """What is opaque in a picture with transparency; else what is white."""
    rgba = read_image(path)
    if rgba[..., 3].min() < 255:
        return rgba[..., 3]
    if (np.ptp(rgba[..., :3], axis=-1) > GREY).any():
        raise DimoError(f"The mask {path} has colours; expected grey: white is the object, black is not.")
    return rgba[..., 0]
