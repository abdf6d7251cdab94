"""What lies in viser's own scene, over the picture: key points, trails, the map as a plate to click on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import viser
from jaxtyping import Float, UInt8
from PIL import Image
from viser.transforms import SO3

from dimo_ns.viewer import draw
from dimo_ns.viewer.state import Shown, State

KEYPOINT, TRAIL_DOT = 0.009, 0.005
"""Sizes, in world units."""
PIECE_DOTS = 4
"""Dots per piece of a trail: not every viser draws lines, and none so far in the colours that it is given."""


class Overlays:
    """Made anew under the same names whenever they change."""

    def __init__(self, scene: viser.SceneApi, scale: float = 1.0):
        """`scale`: how much larger viser's scene is than ours."""
        self.scene, self.scale = scene, scale
        self.plate = draw.Plate.beside()
        self._there: dict[str, Any] = {}

    def update(self, state: State, shown: Shown) -> None:
        """Key points and trails."""
        if shown.look.keypoints:
            self._points("/dimo/keypoints", *draw.keypoints_of(state.space, shown), KEYPOINT)
        else:
            self._remove("/dimo/keypoints")
        if shown.look.trails and not shown.look.canonical:
            self._points("/dimo/trails", *as_dots(*draw.trails_of(state.space, shown)), TRAIL_DOT)
        else:
            self._remove("/dimo/trails")

    def show_plate(self, picture: Image.Image, clicked: Callable[[float, float], Any]) -> None:
        """The map beside the object; a click on it is told by its place, from (0, 0) at the lower left to (1, 1)."""
        width, height = (side * self.scale for side in self.plate.size)
        handle = self.scene.add_image(
            "/dimo/map",
            np.asarray(picture),
            width,
            height,
            format="png",
            wxyz=SO3.from_matrix(self.plate.axes).wxyz,
            position=self.plate.centre * self.scale,
        )
        self._there["/dimo/map"] = handle

        @handle.on_click
        def _(event: Any) -> None:
            clicked(*self.plate.hit(np.array(event.ray_origin) / self.scale, np.array(event.ray_direction)))

    def hide_plate(self) -> None:
        self._remove("/dimo/map")

    def _points(self, name: str, points: np.ndarray, colours: np.ndarray, size: float) -> None:
        self._there[name] = self.scene.add_point_cloud(
            name, points * self.scale, colours, point_size=size * self.scale, point_shape="circle"
        )

    def _remove(self, name: str) -> None:
        if name in self._there:
            self._there.pop(name).remove()


def as_dots(
    pieces: Float[np.ndarray, "s 2 3"], colours: UInt8[np.ndarray, "s 2 3"]
) -> tuple[Float[np.ndarray, "p 3"], UInt8[np.ndarray, "p 3"]]:
    """Points along straight pieces, and their colours."""
    shares = (np.arange(PIECE_DOTS) + 0.5)[:, None, None] / PIECE_DOTS
    points, shades = (x[:, 0] + (x[:, 1].astype(float) - x[:, 0]) * shares for x in (pieces, colours))
    return points.reshape(-1, 3), shades.reshape(-1, 3).astype(np.uint8)
