"""Where the object is in a clip, and the square that it is cut out with: one for all frames.

Boxes are in pixels of the clip's frames: (left, top, right, bottom), the last two excluded. A square may reach beyond
the frames, where everything is transparent.
"""

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

Rgba = UInt8[np.ndarray, "t h w 4"]
Box = tuple[int, int, int, int]

RATIO = 0.9
"""The object's larger extent over the whole clip, as a share of the square's side."""
SOLID = 25
"""Alpha above which a pixel is the object's."""


def object_box(solid: Bool[np.ndarray, "t h w"]) -> Box | None:
    """The box around everything that is solid in any of the frames; None if nothing is."""
    rows, columns = (np.flatnonzero(solid.any(axis)) for axis in ((0, 2), (0, 1)))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def square_around(box: Box, ratio: float = RATIO) -> Box:
    """The square with the box in its middle, of whose side the box's larger extent is this share."""
    left, top, right, bottom = box
    side = round(max(right - left, bottom - top) / ratio)
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    return x, y, x + side, y + side


def cut(frames: Rgba, square: Box, size: int) -> UInt8[np.ndarray, "t {size} {size} 4"]:
    """What is in the square, at `size` x `size` pixels; colours are weighted with alpha when they are mixed."""
    images = (Image.fromarray(frame).crop(square).resize((size, size), Image.Resampling.LANCZOS) for frame in frames)
    return np.stack([np.asarray(image) for image in images])
