"""What everything that is drawn shares: colours, and the type."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Colour = tuple[float, float, float]
"""Red, green and blue, in [0, 1]."""
WHITE: Colour = (1.0, 1.0, 1.0)
INK, GREY, RULE = "#222222", "#6b6b6b", "#d9d9d9"
PALETTE = ("#33628d", "#c8702d", "#4c8c63", "#a8485a", "#7a6aa8", "#8a7a4a", "#3f9a9a", "#9a5a8a")
"""Muted, and told apart by most people with colour-blindness in this order."""


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The figures' type, which comes with matplotlib; that takes long to import, and is not."""
    package = find_spec("matplotlib")
    assert package
    assert package.origin
    return ImageFont.truetype(str(Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
