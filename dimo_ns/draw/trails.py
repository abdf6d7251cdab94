"""Key points and where they came from, drawn over pictures of the object: a colour each, tails that fade, and what lies
behind the object faint."""

import colorsys

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw

from dimo_ns.core.geometry import farthest_points
from dimo_ns.draw.pictures import Picture
from dimo_ns.draw.style import WHITE, Colour

COUNT = 96
"""Trails in a picture: more hide each other."""
LENGTH, STEPS = 0.35, 24
"""The share of the motion that a trail shows, and its pieces."""
OVERSAMPLING = 2
SKIN = 0.04
"""How far behind the rendered surface a key point counts as seen: most of them lie under it. World units."""
FADED, HIDDEN = 0.45, 0.15
"""How much of the render is left under the drawing; opacity of what lies behind the object."""


def choose(keypoints: Float[torch.Tensor, "k 3"]) -> Int[torch.Tensor, " c"]:
    """The key points that get a trail: some that are spread evenly over the object."""
    return farthest_points(keypoints.detach(), min(COUNT, len(keypoints)))


def colours(keypoints: Float[torch.Tensor, "k 3"]) -> UInt8[np.ndarray, "k 3"]:
    """A colour per key point: the hue turns once around the object, seen where it is widest."""
    centred = (keypoints - keypoints.mean(0)).detach().cpu()
    axes = torch.linalg.svd(torch.cat([centred, torch.zeros(3, 3)]), full_matrices=False)[2]
    across = (centred @ axes.T).numpy()
    hue = np.arctan2(across[:, 1], across[:, 0]) / (2 * np.pi) % 1
    return (np.array([colorsys.hsv_to_rgb(h, 0.85, 0.9) for h in hue]) * 255).round().astype(np.uint8)


def time_colours(times: Float[torch.Tensor, " s"]) -> UInt8[np.ndarray, "s 1 3"]:
    """The colours of times in [0, 1], as in the pictures of tracks."""
    from dimo_ns.draw import plotting  # matplotlib takes long to import

    return (plotting.TIME(times.cpu().numpy())[:, None, :3] * 255).round().astype(np.uint8)


def trail_times(t: float) -> Float[torch.Tensor, " s"]:
    """The times of a trail that ends at t; the motion begins at 0."""
    return torch.linspace(t - LENGTH, t, STEPS + 1).clamp(min=0)


@torch.no_grad()
def points_over(
    picture: Picture, positions: Float[torch.Tensor, "k 3"], shades: UInt8[np.ndarray, "k 3"]
) -> UInt8[np.ndarray, "h w c"]:
    """The faded picture with a dot where each key point is."""
    return trails_over(picture, positions[None], shades)


@torch.no_grad()
def trails_over(
    picture: Picture, positions: Float[torch.Tensor, "s k 3"], shades: UInt8[np.ndarray, "*#s #k 3"]
) -> UInt8[np.ndarray, "h w c"]:
    """The faded picture with the trails of key points that went through these positions."""
    pixels = picture.camera.project(positions.cpu()).numpy()
    faded = fade(picture.image, picture.background)
    return draw_trails(faded, pixels, in_front(pixels, picture.alpha, picture.depth), shades)


def in_front(
    pixels: Float[np.ndarray, "*p 3"], alpha: Float[np.ndarray, "h w"], depth: Float[np.ndarray, "h w"]
) -> Bool[np.ndarray, "*p"]:
    """Which projected points (pixel x, y, depth) are not behind the rendered surface, or beside the object."""
    h, w = alpha.shape
    x, y = (np.clip(pixels[..., i].astype(int), 0, size - 1) for i, size in ((0, w), (1, h)))
    return (pixels[..., 2] < depth[y, x] + SKIN) | (alpha[y, x] < 0.5)


def fade(image: UInt8[np.ndarray, "h w c"], background: Colour | None = WHITE) -> UInt8[np.ndarray, "h w c"]:
    """The picture, closer to its background, or to nothing."""
    if background is None:
        return (image * np.array([1, 1, 1, FADED])).round().astype(np.uint8)
    base = 255 * np.array(background)
    return (base + (image - base) * FADED).round().astype(np.uint8)


def draw_trails(
    image: UInt8[np.ndarray, "h w c"],
    pixels: Float[np.ndarray, "s k 3"],
    seen: Bool[np.ndarray, "s k"],
    shades: UInt8[np.ndarray, "*#s #k 3"],
) -> UInt8[np.ndarray, "h w c"]:
    """The picture with trails through projected points (pixel x, y, depth), oldest first, and a dot where each ends."""
    overlay = Overlay(image)
    places, there = overlay.places(pixels)
    shades = np.broadcast_to(shades, pixels.shape)
    moved = np.abs(np.diff(places, axis=0)).max(-1) > 0.05
    drawn = there[1:] & there[:-1] & moved
    strength = (np.linspace(0.05, 1, len(pixels)) ** 1.5).tolist()
    far_first = np.argsort(-pixels[-1, :, 2])
    for visible in (False, True):  # what is hidden must not cover what is seen
        for k in far_first:
            for s in np.flatnonzero(drawn[:, k] & (seen[1:, k] == visible)):
                overlay.line(places[s, k], places[s + 1, k], shades[s + 1, k], strength[s + 1], visible)
        for k in far_first:
            if there[-1, k] and seen[-1, k] == visible:
                overlay.dot(places[-1, k], shades[-1, k], visible)
    return overlay.drawn()


class Overlay:
    """What is drawn over a picture, larger than it and brought to its size at the end."""

    def __init__(self, image: UInt8[np.ndarray, "h w c"]):
        self.image = Image.fromarray(image)
        width, height = self.image.size
        self.layer = Image.new("RGBA", (width * OVERSAMPLING, height * OVERSAMPLING))
        self.draw = ImageDraw.Draw(self.layer)
        self.unit = max(1.0, min(width, height) / 360) * OVERSAMPLING

    def places(self, pixels: Float[np.ndarray, "*s 3"]) -> tuple[Float[np.ndarray, "*s 2"], Bool[np.ndarray, "*s"]]:
        """Where projected points are on the layer, and which of them are in front of the camera and not far outside."""
        places = pixels[..., :2] * OVERSAMPLING
        there = (pixels[..., 2] > 1e-3) & (np.abs(places).max(-1) < 4 * max(self.layer.size))
        return np.where(there[..., None], places, 0.0), there

    def line(self, start, end, shade, strength: float, visible: bool) -> None:
        """Draws a piece of a trail, wider and less transparent the stronger it is."""
        opacity = round(255 * strength * (1 if visible else HIDDEN))
        width = max(1, round(self.unit * (0.5 + strength)))
        self.draw.line([*start.tolist(), *end.tolist()], (*shade.tolist(), opacity), width)

    def dot(self, centre, shade, visible: bool) -> None:
        """Draws a key point, with a rim where it is seen."""
        opacity = round(255 * (1 if visible else HIDDEN))
        rim = (255, 255, 255, opacity) if visible else None
        width = max(1, round(0.35 * self.unit))
        self.draw.circle(centre.tolist(), 1.7 * self.unit, (*shade.tolist(), opacity), rim, width)

    def drawn(self) -> UInt8[np.ndarray, "h w c"]:
        """The picture with everything on it."""
        layer = self.layer.reduce(OVERSAMPLING)
        return np.asarray(Image.alpha_composite(self.image.convert("RGBA"), layer).convert(self.image.mode))
