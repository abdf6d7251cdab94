"""What all pictures share: rendering a Scene over white, cameras that frame it, type and colours."""

import io
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dimo_ns.core.cameras import orbit_c2w, project, viewmats_from_c2w
from dimo_ns.core.scene import Scene
from dimo_ns.core.types import Gaussians, RigidTransforms
from dimo_ns.rasterize import rasterization

RADIUS = 2.0
"""Distance of the camera from the origin, in world units."""
LINE = 24
"""Height of a line of text in videos."""
EXTENT_POINTS = 4000
WHITE = (1.0, 1.0, 1.0)
INK, GREY, RULE = "#222222", "#6b6b6b", "#d9d9d9"
PALETTE = ("#33628d", "#c8702d", "#4c8c63", "#a8485a", "#7a6aa8", "#8a7a4a", "#3f9a9a", "#9a5a8a")
"""Muted, and told apart by most people with colour-blindness in this order."""


@torch.no_grad()
def render(
    posed: Gaussians,
    viewmats: Float[Tensor, "b 4 4"],
    Ks: Float[Tensor, "b 3 3"],
    size: tuple[int, int],
    background: tuple[float, float, float] = WHITE,
) -> tuple[UInt8[np.ndarray, "b h w 3"], Float[np.ndarray, "b h w"], Float[np.ndarray, "b h w"]]:
    """Posed Gaussians, each pose before its own camera: sRGB over the background, alpha, depth (world units
    along the camera's axis). `size` is (h, w)."""
    device = posed.means.device
    rendered, alpha, _ = rasterization(
        *posed.splats(),
        viewmats[:, None].to(device),
        Ks[:, None].to(device),
        size[1],
        size[0],
        render_mode="RGB+ED",
    )
    image = (rendered[:, 0, ..., :3] + (1 - alpha[:, 0]) * torch.tensor(background, device=device)).clamp(0, 1)
    return (
        (image * 255).round().byte().cpu().numpy(),
        alpha[:, 0, ..., 0].cpu().numpy(),
        rendered[:, 0, ..., 3].cpu().numpy(),
    )


def orbit(azimuth_deg: Float[Tensor, " b"], elevation_deg: float) -> Float[Tensor, "b 4 4"]:
    """World-to-camera of cameras around the origin."""
    return viewmats_from_c2w(orbit_c2w(azimuth_deg, torch.full_like(azimuth_deg, elevation_deg), RADIUS))


@torch.no_grad()
def visited(scene: Scene, motions: Iterable[RigidTransforms]) -> Float[Tensor, "b n 3"]:
    """Where the opaque Gaussians are in all frames of these motions, each given by its key points' transforms."""
    opaque = torch.sigmoid(scene.gaussians.logit_opacities) > 0.3
    return torch.cat([scene.carry(transforms).means[:, opaque] for transforms in motions]).cpu()


@torch.no_grad()
def motion(scene: Scene, z: Float[Tensor, " d"], t: Float[Tensor, " b"]) -> RigidTransforms:
    """The key points' transforms [b, k, ...] under one latent at these times."""
    return scene.trajectory(z.expand(len(t), -1), t.to(z.device))


def extent(points: Float[Tensor, "*b n 3"], viewmats: Float[Tensor, "c 4 4"]) -> Float[Tensor, "2 2"]:
    """Lowest and highest x and y of these points in all poses and over all cameras of focal length 1; in each, but for
    the few farthest ones."""
    poses = points.reshape(-1, *points.shape[-2:])
    chosen = torch.randperm(poses.shape[1], generator=torch.Generator().manual_seed(0))[:EXTENT_POINTS]
    bounds = []
    for viewmat in viewmats:
        xy = project(poses[:, chosen], viewmat, torch.eye(3))[..., :2]
        bounds.append(torch.quantile(xy, torch.tensor([0.001, 0.999]), dim=1))
    low, high = torch.cat(bounds, 1)
    return torch.stack([low.amin(0), high.amax(0)])


def shape(points: Float[Tensor, "*b n 3"], viewmat: Float[Tensor, "4 4"], width: int) -> tuple[int, int]:
    """Height and width of an image that suits what these points take, neither very flat nor very high."""
    low, high = extent(points, viewmat[None])
    x, y = (high - low).clamp(min=1e-3).tolist()
    return round(width * min(max(y / x, 0.6), 1.2)), width


def frame(
    points: Float[Tensor, "*b n 3"], viewmats: Float[Tensor, "c 4 4"], size: tuple[int, int], centred: bool = False
) -> Float[Tensor, "3 3"]:
    """Intrinsics with which these points fill an image of (h, w) from all these cameras, but for a margin.

    `centred`: the principal point stays in the middle.
    """
    h, w = size
    low, high = extent(points, viewmats)
    if centred:
        high = torch.maximum(high.abs(), low.abs())
        low = -high
    spread, middle = (high - low).clamp(min=1e-3), (high + low) / 2
    focal = 0.88 * float(torch.minimum(w / spread[0], h / spread[1]))
    return torch.tensor([
        [focal, 0.0, w / 2 - focal * float(middle[0])],
        [0.0, focal, h / 2 - focal * float(middle[1])],
        [0.0, 0.0, 1.0],
    ])  # fmt: skip


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The figures' type, which comes with matplotlib; that takes long to import, and is not."""
    package = find_spec("matplotlib")
    assert package
    assert package.origin
    return ImageFont.truetype(str(Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def caption(image: UInt8[np.ndarray, "h w 3"], text: str) -> UInt8[np.ndarray, "h2 w 3"]:
    """The image with a line of text below it, `LINE` pixels high."""
    height, width = image.shape[:2]
    picture = Image.new("RGB", (width, height + LINE), "white")
    picture.paste(Image.fromarray(image), (0, 0))
    ImageDraw.Draw(picture).text((width / 2, height + LINE / 2), text, fill=INK, font=font(14), anchor="mm")
    return np.asarray(picture)


def write_video(path: Path, images: Iterable[UInt8[np.ndarray, "h w 3"]], fps: float) -> Path:
    """H.264 that every browser and player takes; sides are cut to even numbers."""
    content = io.BytesIO()  # written at once: PyAV does not take a full disk well
    with iio.imopen(content, "w", plugin="pyav", extension=".mp4") as file:
        file.init_video_stream("libx264", fps=float(fps), pixel_format="yuv420p")  # pyright: ignore
        for image in images:
            h, w = (side - side % 2 for side in image.shape[:2])
            file.write_frame(np.ascontiguousarray(image[:h, :w]))  # pyright: ignore
    path.write_bytes(content.getvalue())
    return path
