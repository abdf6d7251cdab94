"""Image files: PNG, JPEG and WebP of every depth, read as a viewer shows them: turned, RGBA of 8 bits, straight alpha.

Everything that opens a picture of a user's is here, with its limits: three formats, a cap on pixels that is applied to
the header. What in it is the object is said in `images.py`.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageFile, ImageOps

from dimo_ns.errors import DimoError
from dimo_ns.files.opening import regular

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_PIXELS = 2**25  # 5792 x 5792; an RGBA image of that size takes 134 MB
MAX_IMAGE_BYTES = 2**29
"""Of a file, as it is stored."""
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
"""What comes of a file that is damaged."""

_ON_ITS_SIDE = (5, 6, 7, 8)  # EXIF orientations
_LEVELS: dict[object, int] = {"L;2": 85, "L;4": 17}  # what Pillow multiplies pixels of 2 and 4 bits with

Rgba = UInt8[np.ndarray, "_ _ 4"]
"""A picture, [h, w, 4]; where a function has several, their sizes may differ."""


@dataclass(frozen=True)
class Header:
    """What the first bytes of an image say, of the picture as it is shown."""

    w: int
    h: int
    has_alpha: bool


def read_header(path: Path) -> Header:
    """Size and alpha of an image, from its header only. Raises DimoError for other formats, broken or huge files."""
    with _open(path) as image:
        w, h = image.size
        if _orientation(image) in _ON_ITS_SIDE:
            w, h = h, w
        return Header(w, h, image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info)


def read_image(path: Path) -> Rgba:
    """The picture [h, w, 4], opaque where it says nothing of transparency. Raises DimoError as `read_header`, and if it
    is damaged."""
    with _open(path) as image:
        stored = image.tile[0].args if image.format == "PNG" and image.tile else None
        try:
            shown = image if _orientation(image) == 1 else ImageOps.exif_transpose(image)
            return _eight_bit(shown, stored)
        except BROKEN as error:
            raise DimoError(f"The image {path} is damaged ({error}); make it again or remove it.") from error


def _open(path: Path) -> ImageFile.ImageFile:
    try:
        image = Image.open(regular(path, MAX_IMAGE_BYTES), formats=IMAGE_FORMATS)
        if image.format == "PNG" and "exif" not in image.info:
            _find_late_exif(image)
    except Image.DecompressionBombError as error:
        raise DimoError(f"The image {path} is larger than the limit of {MAX_PIXELS:,} pixels.") from error
    except BROKEN as error:
        raise DimoError(f"The file {path} is not a readable PNG, JPEG or WebP image ({error}).") from error
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        image.close()
        raise DimoError(f"The image {path} is {size}, larger than the limit of {MAX_PIXELS:,} pixels.")
    return image


def _find_late_exif(image: ImageFile.ImageFile) -> None:
    """A PNG may have its EXIF behind the pixels, where Pillow finds it only when it decodes them."""
    file = image.fp
    assert file is not None
    here = file.tell()
    file.seek(8)
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf":
            image.info["exif"] = file.read(size)
            break
        file.seek(size + 4, 1)
    file.seek(here)


def _orientation(image: Image.Image) -> int:
    """Of EXIF or XMP, 1 to 8; 1, as it is stored, where there is none or none that can be read."""
    try:
        found = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)  # a PNG's own getexif decodes the pixels
    except BROKEN:
        return 1
    return found if found in range(1, 9) else 1


def _eight_bit(image: Image.Image, stored: object) -> Rgba:
    """Pillow cuts off what is above 255 in a grey picture of 16 bits, and does not bring the colour that a PNG declares
    transparent to 8 bits as it does the pixels. `stored`: how these are in the file, in Pillow's words."""
    clear = image.info.get("transparency")
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        alpha = np.full(grey.shape, 255) if clear is None else np.where(grey == clear, 0, 255)
        grey = np.round(grey / 257)
        return np.stack([grey, grey, grey, alpha], -1).astype(np.uint8)
    if clear is not None and stored in _LEVELS:
        image.info["transparency"] = clear * _LEVELS[stored]
    elif clear is not None and stored == "RGB;16B":
        image.info["transparency"] = tuple(level >> 8 for level in clear)
    return np.asarray(image.convert("RGBA"))
