"""Pictures of posed Gaussians as arrays of bytes, and lines of text below them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from dimo_ns.core.cameras import Cameras
from dimo_ns.core.types import Gaussians
from dimo_ns.draw.style import INK, WHITE, font
from dimo_ns.rasterize.render import render

LINE = 24
"""Height of a line of text in videos."""


@dataclass(frozen=True, eq=False)
class Picture:
    """What one camera sees."""

    image: UInt8[np.ndarray, "h w 3"]
    """sRGB over the background."""
    alpha: Float[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]
    """World units along the camera's axis."""
    camera: Cameras
    """The one camera, on the CPU."""
    background: tuple[float, float, float] = WHITE


@torch.no_grad()
def take_pictures(posed: Gaussians, cameras: Cameras, background: tuple[float, float, float] = WHITE) -> list[Picture]:
    """Renders poses [b, n, ...], each before its own of the cameras [b], over a background; on the poses' device."""
    device, cameras = posed.means.device, cameras.to("cpu")
    rendered = render(posed, cameras[:, None].to(device), depth=True)
    assert rendered.depth is not None
    images = (rendered.over(torch.tensor(background, device=device)).clamp(0, 1) * 255).round().byte()
    parts = (x[:, 0].cpu().numpy() for x in (images, rendered.alpha[..., 0], rendered.depth[..., 0]))
    return [
        Picture(image, alpha, depth, cameras[i], background)
        for i, (image, alpha, depth) in enumerate(zip(*parts, strict=True))
    ]


def caption(image: UInt8[np.ndarray, "h w 3"], text: str) -> UInt8[np.ndarray, "h2 w 3"]:
    """The image with a line of text below it, `LINE` pixels high."""
    height, width = image.shape[:2]
    picture = Image.new("RGB", (width, height + LINE), "white")
    picture.paste(Image.fromarray(image), (0, 0))
    ImageDraw.Draw(picture).text((width / 2, height + LINE / 2), text, fill=INK, font=font(14), anchor="mm")
    return np.asarray(picture)
