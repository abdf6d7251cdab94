"""Video files that every browser and player takes."""

import io
from collections.abc import Iterable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from jaxtyping import UInt8


def write_video(path: Path, images: Iterable[UInt8[np.ndarray, "h w 3"]], fps: float) -> Path:
    """Writes H.264 to `path`, an .mp4, and returns it; sides are cut to even numbers."""
    content = io.BytesIO()  # written at once: PyAV does not take a full disk well
    with iio.imopen(content, "w", plugin="pyav", extension=".mp4") as file:
        file.init_video_stream("libx264", fps=float(fps), pixel_format="yuv420p")  # pyright: ignore
        for image in images:
            h, w = (side - side % 2 for side in image.shape[:2])
            file.write_frame(np.ascontiguousarray(image[:h, :w]))  # pyright: ignore
    path.write_bytes(content.getvalue())
    return path
