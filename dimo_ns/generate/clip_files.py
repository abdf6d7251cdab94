"""Videos, clips and chunks of views as files: written so that the same frames are the same bytes."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dimo_ns.data import video_files
from dimo_ns.errors import DimoError
from dimo_ns.files import videos
from dimo_ns.generate.matting import Rgb, Rgba


def read_frames(path: Path, count: int) -> tuple[Rgba, list[float]]:
    """So many frames of a video, taken evenly in time, and when each was taken, in seconds; opaque where it has no
    transparency. Raises DimoError if there are fewer, and if its pixels are not square."""
    header = video_files.video_header(path)
    if not header.square_pixels:
        raise DimoError(f"The pixels of the video {path} are not square; make it again with square ones.")
    chosen = header.pick(count)
    return np.stack(list(video_files.read_frames(path, chosen.tolist()))), header.times_s[chosen].tolist()


def write_video(path: Path, frames: Rgb, fps: float) -> None:
    """Writes H.264, hardly compressed."""
    videos.write_video(path, frames, fps, {"crf": "8", "threads": "1"})


def write_pictures(folder: Path, frames: Rgba) -> None:
    """Writes a picture for each frame."""
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i:02d}.png", compress_level=1)


def read_pictures(folder: Path, count: int) -> Rgba:
    """The first frames that `write_pictures` wrote."""
    return np.stack([np.asarray(Image.open(folder / f"{i:02d}.png")) for i in range(count)])


def write_chunk(folder: Path, chunk: UInt8[np.ndarray, "v t h w 3"]) -> None:
    """Writes a picture for each view, its frames side by side."""
    for i, view in enumerate(chunk):
        Image.fromarray(np.concatenate(list(view), axis=1)).save(folder / f"view_{i + 1:02d}.png", compress_level=1)


def read_chunk(folder: Path) -> UInt8[np.ndarray, "v t h w 3"]:
    """The views that `write_chunk` wrote."""
    strips = [np.asarray(Image.open(path)) for path in sorted(folder.glob("view_*.png"))]
    return np.stack([np.stack(np.split(strip, strip.shape[1] // strip.shape[0], axis=1)) for strip in strips])
