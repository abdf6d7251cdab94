"""Pictures of posed Gaussians as arrays of bytes, and lines of text below them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from dimo_ns.core.cameras import Cameras
from dimo_ns.core.types import Gaussians
from dimo_ns.draw.style import INK, WHITE, Colour, font
from dimo_ns.rasterize.render import render

LINE = 24
"""Height of a line of text in videos."""
LEAST_ALPHA = 1e-6
"""What is less opaque has no colour."""


@dataclass(frozen=True, eq=False)
class Picture:
    """What one camera sees."""

    image: UInt8[np.ndarray, "h w c"]
    """sRGB over the background; RGBA with straight alpha where there is none."""
    alpha: Float[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]
    """World units along the camera's axis."""
    camera: Cameras
    """The one camera, on the CPU."""
    background: Colour | None = WHITE


@torch.no_grad()
def take_pictures(posed: Gaussians, cameras: Cameras, background: Colour | None = WHITE) -> list[Picture]:
    """Renders poses [b, n, ...], each before its own of the cameras [b], over a background or over none; on the poses'
    device."""
    device, cameras = posed.means.device, cameras.to("cpu")
    rendered = render(posed, cameras[:, None].to(device), depth=True)
    assert rendered.depth is not None
    if background is None:
        straight = rendered.color / rendered.alpha.clamp(min=LEAST_ALPHA)
        painted = torch.cat([straight, rendered.alpha], -1)
    else:
        painted = rendered.over(torch.tensor(background, device=device))
    images = (painted.clamp(0, 1) * 255).round().byte()
    parts = (x[:, 0].cpu().numpy() for x in (images, rendered.alpha[..., 0], rendered.depth[..., 0]))
    return [
        Picture(image, alpha, depth, cameras[i], background)
        for i, (image, alpha, depth) in enumerate(zip(*parts, strict=True))
    ]


def caption(image: UInt8[np.ndarray, "h w c"], text: str) -> UInt8[np.ndarray, "h2 w c"]:
    """The image with a line of text below it, `LINE` pixels high, on white or on nothing."""
    height, width, channels = image.shape
    mode, blank = ("RGBA", f"{INK}00") if channels == 4 else ("RGB", "white")
    picture = Image.new(mode, (width, height + LINE), blank)
    picture.paste(Image.fromarray(image), (0, 0))
    ImageDraw.Draw(picture).text((width / 2, height + LINE / 2), text, fill=INK, font=font(14), anchor="mm")
    return np.asarray(picture)
