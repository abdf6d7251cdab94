"""Videos, clips and chunks of views as files: written so that the same frames are the same bytes."""

from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dimo_ns.data.images import video_header
from dimo_ns.errors import DimoError
from dimo_ns.files import videos
from dimo_ns.generate.framing import pick
from dimo_ns.generate.matting import Rgb, Rgba


def read_frames(path: Path, count: int) -> tuple[Rgb, list[float]]:
    """So many frames of a video, picked evenly, and when each was taken, in seconds. Transparent ones are put over
    white. Raises DimoError if there are fewer."""
    header, length = video_header(path)
    chosen = set(pick(length, count))
    with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
        rate = float(container.streams.video[0].average_rate or 8)
        images = []
        for i, frame in enumerate(container.decode(video=0)):
            if i in chosen:
                rgba = frame.to_ndarray(format="rgba")
                share = rgba[..., 3:] / np.float32(255) if header.has_alpha else 1
                images.append((rgba[..., :3] * share + 255 * (1 - np.asarray(share))).round().astype(np.uint8))
    if len(images) != count:
        raise DimoError(f"The video {path} has fewer frames than it says; make it again.")
    return np.stack(images), [round(i / rate, 6) for i in sorted(chosen)]


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
