"""The user's picture of the object: read, whatever it is, as RGBA with straight alpha, and placed for a video model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dimo_ns.data.image_files import read_image
from dimo_ns.errors import DimoError
from dimo_ns.generate.framing import SOLID, object_box
from dimo_ns.generate.matting import PLAIN_ENOUGH, Matting, plain, plainness

ROOM = 0.62
"""The object's share of the picture that a video begins with: the rest is room to move in."""
PART = 0.1
"""A piece of at least this share of the largest piece counts as an object of its own."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One object."""

    rgba: UInt8[np.ndarray, "h w 4"]
    notes: tuple[str, ...]
    """What may go wrong with it, one sentence each."""


def read_picture(path: Path, matting: Matting = plain) -> Picture:
    """An image file; the matting is for images without transparency. Raises DimoError if there is no object in it."""
    if not path.exists():
        raise DimoError(f"There is no image at {path}.")
    rgba = read_image(path)
    if rgba[..., 3].min() == 255:
        rgba = _matted(rgba[..., :3], path, matting)
    if rgba[..., 3].max() <= SOLID:
        raise DimoError(f"The image {path} shows nothing: it is transparent, or of one colour, everywhere.")
    return Picture(np.where(rgba[..., 3:] > 0, rgba, np.uint8(0)), tuple(_doubts(rgba[..., 3] > SOLID)))


def place(
    rgba: UInt8[np.ndarray, "h w 4"], height: int, width: int, room: float = ROOM
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The object over white in the middle of a picture of this size, as large as that share of it allows."""
    box = object_box(rgba[None, ..., 3] > SOLID)
    if box is None:
        raise DimoError("The picture shows nothing.")
    shown = Image.fromarray(rgba).crop(box)
    scale = room * min(height / shown.height, width / shown.width)
    size = max(1, round(shown.width * scale)), max(1, round(shown.height * scale))
    shown = shown.resize(size, Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (width, height), "white")
    canvas.alpha_composite(shown, ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(canvas.convert("RGB"))


def _matted(rgb: UInt8[np.ndarray, "h w 3"], path: Path, matting: Matting) -> UInt8[np.ndarray, "h w 4"]:
    if matting is plain and plainness(rgb[None]) < PLAIN_ENOUGH:
        raise DimoError(
            f"The image {path} has neither transparency nor a plain background; give it an alpha channel, or choose a "
            "matting: --matting rembg:isnet-general-use."
        )
    return matting(rgb[None])[0]


def _doubts(solid: np.ndarray) -> list[str]:
    from scipy.ndimage import label

    edges = {"top": solid[0], "bottom": solid[-1], "left": solid[:, 0], "right": solid[:, -1]}
    cut = [name for name, pixels in edges.items() if pixels.any()]
    pieces, _ = label(solid, np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
    areas = np.bincount(pieces.ravel())[1:]
    count = int((areas >= PART * areas.max()).sum())
    doubts = []
    if cut:
        doubts.append(
            f"The object touches the {' and '.join(cut)} of the image: what is cut off there will be made up."
        )
    if count > 1:
        doubts.append(f"The image shows {count} separate things: they are taken as one object.")
    return doubts
