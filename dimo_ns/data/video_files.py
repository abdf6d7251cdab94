"""Video files: when each frame is shown, and frames as a player shows them: turned, RGBA of 8 bits, straight alpha.

Everything that opens a video of a user's is here, with its limits. What in a frame is the object: `images.py`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float64, Int64

from dimo_ns.data.image_files import MAX_PIXELS, Rgba
from dimo_ns.errors import DimoError
from dimo_ns.files.opening import regular

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif")
VIDEO_ENDINGS = ", ".join(suffix[1:] for suffix in VIDEO_SUFFIXES)
"""As a complaint names them."""
MAX_VIDEO_BYTES = 2**36
USUAL_RATE = 8.0
"""Frames per second of a video that does not say."""


@dataclass(frozen=True, eq=False)
class VideoHeader:
    """A video but for its pixels, as it is shown."""

    path: Path
    w: int
    h: int
    has_alpha: bool
    square_pixels: bool
    times_s: Float64[np.ndarray, " frames"]
    """When each frame is shown, in seconds after the first."""

    def pick(self, count: int, end_s: float | None = None) -> Int64[np.ndarray, " count"]:
        """The frames that are shown nearest to so many times, evenly from the first frame's to `end_s`, by default the
        last one's; none twice. Raises DimoError if there are fewer, or none are asked for."""
        if count < 1:
            raise DimoError(f"{count} frames are asked for; expected 1 or more.")
        last = self.times_s[-1] if end_s is None else end_s
        times = self.times_s[: self.until(last)]
        if len(times) < count:
            raise DimoError(
                f"The video {self.path} has {len(times)} frames; {count} are to be taken from it. Ask for at "
                f"most {len(times)}: with --frames (of ns-train: --pipeline.datamanager.dataparser.frames), or as "
                "'frames' in a motions.json."
            )
        nearest = np.searchsorted((times[1:] + times[:-1]) / 2, np.linspace(0, last, count))
        steps = np.arange(count)
        ascending = np.maximum.accumulate(nearest - steps) + steps
        return np.minimum(ascending, len(times) - count + steps)

    def until(self, end_s: float) -> int:
        """How many frames there are up to this time, give or take half a step."""
        return int(np.searchsorted(self.times_s, end_s + self.step_s / 2, side="right"))

    @property
    def step_s(self) -> float:
        """From one frame to the next, on the whole."""
        return float(self.times_s[-1]) / max(len(self.times_s) - 1, 1)


def video_header(path: Path) -> VideoHeader:
    """What there is to know of a video; its first frame is decoded. Raises DimoError if it cannot be."""
    first = next(read_frames(path, [0]))
    with _open(path) as (container, stream):
        times = _times(container, stream)
        alpha, square = _has_alpha_plane(stream), stream.sample_aspect_ratio in (None, 0, 1)
    return VideoHeader(path, first.shape[1], first.shape[0], alpha, square, times)


def is_video(path: Path) -> bool:
    """Whether this is a file that is read as a video, by its name; a name that begins with a dot is another program's
    business."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.name[0] != "." and path.is_file()


def read_frames(path: Path, indices: Sequence[int]) -> Iterator[Rgba]:
    """The frames with these ascending indices, one after the other. Raises DimoError if it ends before, or is
    damaged."""
    wanted = iter(indices)
    want = next(wanted, None)
    index, sizes = 0, set()
    with _open(path) as (container, stream):
        for frame in _decode(container, stream):
            sizes.add((frame.width, frame.height))
            if len(sizes) > 1:
                raise DimoError(f"The video {path} has another size from frame {index} on; make it again in one size.")
            if index == want:
                yield _upright(frame)
                want = next(wanted, None)
            if want is None:
                return
            index += 1
    raise DimoError(f"The video {path} ends after {index} frames, before frame {want}; make it again.")


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
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


def _times(container: Any, stream: Any) -> Float64[np.ndarray, " frames"]:
    """By the stamps of the packets, mostly without decoding; by the frame rate where they have none."""
    if stream.codec_context.name == "vp8":  # its packets may hold frames that are not shown
        stamps = [frame.pts for frame in container.decode(stream)]
    else:
        stamps = [p.pts for p in container.demux(stream) if p.size > 0 and not p.is_discard]
    rate = float(stream.guessed_rate or USUAL_RATE)
    if None not in stamps and len(set(stamps)) == len(stamps):
        times = np.sort(np.array(stamps, np.float64)) * float(stream.time_base)
        return np.round(times - times[0], 6)
    return np.round(np.arange(len(stamps)) / rate, 6)


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


def _upright(frame: Any) -> Rgba:
    """The frame as its display matrix (a b, c d in its first two columns and rows) says: x' = ax + cy, y' = bx + dy."""
    rgba = frame.to_ndarray(format="rgba")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return rgba
    (a, b), (c, d) = np.frombuffer(matrix, np.int32).reshape(3, 3)[:2, :2]
    if abs(b) > abs(a):
        rgba, a, d = rgba.swapaxes(0, 1), c, b
    return np.ascontiguousarray(rgba[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
