"""Pixels out of files: PNG, JPEG and WebP images and frames of videos, as uint8 RGBA with straight alpha.

Everything that opens a picture of a user's dataset is here, with its limits: three image formats, a cap on pixels that
is applied to the header, masks without pickles. A picture's alpha is

1. its own alpha channel, unless that is 255 everywhere;
2. else a mask file beside it (`00_mask.npy` for `00.png`; bool, 0..1 or 0..255);
3. else the distance to white d = 255 - min(r, g, b): transparent for d <= 5, opaque for d >= 25, linear between. It
   needs a white border (at least half of the border pixels with d <= 5), and white parts of the object are lost.

In cases 2 and 3 the picture is taken as the object over white, and the white is taken out of the colours again.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8
from PIL import Image

from dimo_ns.errors import DimoError
from dimo_ns.files.opening import regular

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
VIDEO_SUFFIXES = (".mp4", ".webm", ".mov", ".avi", ".gif")
MAX_PIXELS = 2**25  # 5792 x 5792; an RGBA image of that size takes 134 MB
MAX_IMAGE_BYTES, MAX_VIDEO_BYTES = 2**29, 2**36
"""Of files, as they are stored."""
WHITE_CLEAR, WHITE_SOLID = 5, 25  # distance to white: transparent up to the first, opaque from the second

_ALPHA_OF_DARKEST = np.round(
    255 * np.clip((255 - np.arange(256) - WHITE_CLEAR) / (WHITE_SOLID - WHITE_CLEAR), 0, 1)
).astype(np.uint8)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)

Rgba = UInt8[np.ndarray, "_ _ 4"]
"""A picture, [h, w, 4]; where a function has several, their sizes may differ."""


@dataclass(frozen=True)
class Source:
    """Where one frame of a dataset is: an image, perhaps with a mask beside it, or a frame of a video."""

    path: Path
    size_bytes: int
    has_alpha: bool
    mask: Path | None = None
    video_frame: int | None = None
    """Index among the decoded frames of the video `path`."""


@dataclass(frozen=True)
class Header:
    """What the first bytes of an image or video say."""

    w: int
    h: int
    has_alpha: bool


def read_header(path: Path) -> Header:
    """Size and alpha of an image, from its header only. Raises DimoError for other formats, broken or huge files."""
    with _open(path) as image:
        return Header(image.width, image.height, _has_alpha(image))


def read_rgba(source: Source) -> Rgba:
    """One frame [h, w, 4], straight alpha. Raises DimoError if it is damaged or has no alpha and no white border."""
    if source.video_frame is not None:
        return next(read_video(source.path, [source.video_frame]))
    with _open(source.path) as image:
        try:
            rgba = np.asarray(image.convert("RGBA"))
        except _BROKEN as error:
            raise DimoError(f"The image {source.path} is damaged ({error}); make it again or remove it.") from error
    return _own_alpha_or(rgba, source.path, source.mask)


def alpha_from_white(rgb: UInt8[np.ndarray, "h w 3"], path: Path) -> Rgba:
    """RGBA of an object over white, by rule 3 above. Raises DimoError naming `path` if the border is not white."""
    if not _white_border(rgb):
        raise DimoError(
            f"The picture {path} has neither transparency nor a white background; give it an alpha channel or a mask."
        )
    darkest = np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
    return _take_out_white(rgb, _ALPHA_OF_DARKEST[darkest])


def video_header(path: Path) -> tuple[Header, int]:
    """Size and alpha of a video and how many frames it has, mostly without decoding. Raises DimoError if it cannot."""
    with _open_video(path) as (container, stream):
        header = Header(stream.width, stream.height, _has_alpha_plane(stream))
        if stream.codec_context.name == "vp8":  # its packets may hold frames that are not shown
            return header, sum(1 for _ in container.decode(stream))
        return header, sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))


def read_video(path: Path, indices: Sequence[int]) -> Iterator[Rgba]:
    """The frames with these ascending indices, one after the other, straight alpha. Raises DimoError as `read_rgba`."""
    wanted = iter(indices)
    want = next(wanted, None)
    index = 0
    with _open_video(path) as (container, stream):
        for frame in _decode(container, stream):
            if index == want:
                yield _own_alpha_or(frame.to_ndarray(format="rgba"), path)
                want = next(wanted, None)
            if want is None:
                return
            index += 1
    raise DimoError(f"The video {path} ends after {index} frames, before frame {want}; make it again.")


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(regular(path, MAX_IMAGE_BYTES), formats=IMAGE_FORMATS)
    except Image.DecompressionBombError as error:
        raise DimoError(f"The image {path} is larger than the limit of {MAX_PIXELS:,} pixels.") from error
    except _BROKEN as error:
        raise DimoError(f"The file {path} is not a readable PNG, JPEG or WebP image ({error}).") from error
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        image.close()
        raise DimoError(f"The image {path} is {size}, larger than the limit of {MAX_PIXELS:,} pixels.")
    return image


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


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
    try:
        mask = np.lib.format.open_memmap(regular(path, MAX_IMAGE_BYTES), mode="r")
    except (*_BROKEN, TokenError, OverflowError, MemoryError, TypeError) as error:
        raise DimoError(f"The mask {path} is not a readable .npy array ({error}).") from error
    if mask.shape not in (shape, (*shape, 1), (1, *shape)) or mask.dtype.kind not in "buif":
        raise DimoError(
            f"The mask {path} is {mask.dtype}{list(mask.shape)}; expected numbers {list(shape)} as the image."
        )
    mask = np.asarray(mask, np.float64).reshape(shape)
    if not np.isfinite(mask).all() or mask.min() < 0 or mask.max() > 255:
        raise DimoError(f"The mask {path} has values outside 0..1 and 0..255.")
    return np.round(mask if mask.max() > 1 else 255.0 * mask).astype(np.uint8)


@contextmanager
def _open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream. FFmpeg's complaints while it is open become a DimoError."""
    try:
        with av.open(str(regular(path, MAX_VIDEO_BYTES)), options={"protocol_whitelist": "file"}) as container:
            stream = next(iter(container.streams.video), None)
            if stream is None or stream.codec_context is None:
                raise DimoError(f"The file {path} has no video in it that can be decoded.")
            if not 0 < stream.width * stream.height <= MAX_PIXELS:
                size = f"{stream.width} x {stream.height}"
                raise DimoError(f"The video {path} is {size}; expected 1 to {MAX_PIXELS:,} pixels.")
            yield container, stream
    except (FFmpegError, OSError, ValueError, EOFError) as error:
        raise DimoError(f"The video {path} cannot be read ({error}); make it again or remove it.") from error


def _has_alpha_plane(stream: Any) -> bool:
    pixels = stream.codec_context.format
    return stream.metadata.get("alpha_mode") == "1" or (
        pixels is not None and any(c.is_alpha for c in pixels.components)
    )


def _decode(container: Any, stream: Any) -> Iterator[Any]:
    name = stream.codec_context.name
    if name not in ("vp8", "vp9") or not _has_alpha_plane(stream):
        yield from container.decode(stream)
        return
    decoder = av.CodecContext.create("libvpx" if name == "vp8" else "libvpx-vp9", "r")  # FFmpeg's own drop the alpha
    for packet in container.demux(stream):
        yield from decoder.decode(packet)
