"""Tiny videos, written by FFmpeg's encoders, with what everyday ones have: alpha, rotation, depth, stamps, tags."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

LOSSLESS: dict[str, tuple[str, str, dict[str, str]]] = {
    ".mp4": ("libx264rgb", "rgb24", {"qp": "0"}),
    ".m4v": ("libx264rgb", "rgb24", {"qp": "0"}),
    ".mov": ("qtrle", "argb", {}),
    ".mkv": ("ffv1", "bgra", {}),
    ".avi": ("png", "rgba", {}),
}
"""Ending -> codec, format of the pixels, options; with alpha where the format has it."""


def save_video(
    path: Path,
    images: Sequence[np.ndarray],
    codec: str = "libx264rgb",
    pixels: str = "rgb24",
    options: dict[str, str] | None = None,
    *,
    rate: int = 8,
    times_ms: Sequence[int] | None = None,
    rotation: int | None = None,
    colours: tuple[int, int] | None = None,
    pixel_aspect: Fraction | None = None,
) -> None:
    """`times_ms`: when each frame is shown, else at `rate`. `rotation`: how far a player turns it, counter-clockwise.
    `colours`: FFmpeg's numbers of matrix (1 BT.709, 5 BT.601) and range (1 limited, 2 full), written and used."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, options={"qp": "0"} if options is None else options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.thread_count = pixels, 1
        conversion = {}
        if times_ms:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if colours is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = colours
            conversion = {"dst_colorspace": colours[0], "dst_color_range": colours[1]}
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
            frame = frame.reformat(format=pixels, **conversion)
            frame.pts, frame.time_base = (times_ms[i], Fraction(1, 1000)) if times_ms else (i, Fraction(1, rate))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def numbered(count: int, h: int = 16, w: int = 16) -> list[np.ndarray]:
    """Frames of one grey each, 10 apart, so that each can be told from the others."""
    return [np.full((h, w, 3), 10 * i, np.uint8) for i in range(count)]
