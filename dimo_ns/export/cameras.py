"""Where a video is seen from: around the object, from a view of the dataset, or along a path of nerfstudio's viewer."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.core.cameras import viewmats_from_c2w
from dimo_ns.core.types import RigidTransforms
from dimo_ns.data.dataset import Dataset, View
from dimo_ns.data.format import load
from dimo_ns.draw import picture
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import MAX_JSON_BYTES, Fields, is_finite
from dimo_ns.space.motion_space import MotionSpace

SIDES = (16, 4096)
"""Of an image, in pixels: at least and at most."""


@dataclass(eq=False)
class Cameras:
    """One camera for all frames of a video, or one for each."""

    viewmats: Float[Tensor, "n 4 4"]
    Ks: Float[Tensor, "n 3 3"]
    size: tuple[int, int]
    """(h, w)."""
    times: Float[Tensor, " n"] | None = None
    """When in the motion each one looks, in [0, 1], where it says so itself."""
    fps: float | None = None
    """Of the path, where it has one."""

    def __post_init__(self):
        for side in self.size:
            if not SIDES[0] <= side <= SIDES[1]:
                raise DimoError(f"An image side of {side} pixels was asked for; expected {SIDES[0]} to {SIDES[1]}.")

    def resized(self, size: tuple[int, int] | None) -> "Cameras":
        """The same with images of another size, seen as high as before."""
        if size is None or size == self.size:
            return self
        scale = size[0] / self.size[0]
        Ks = self.Ks.clone()
        Ks[:, :2] *= scale
        Ks[:, 0, 2] += (size[1] - scale * self.size[1]) / 2
        return Cameras(self.viewmats, Ks, size, self.times, self.fps)


@dataclass(frozen=True)
class Around:
    """A camera at a distance of 2 that looks at the object and shows all of its motions as large as fits."""

    azimuth_deg: float = 40.0
    elevation_deg: float = 15.0
    turns: float = 0.0
    """How many times it goes around the object in the whole video."""
    size: tuple[int, int] = (512, 512)
    """(h, w)."""

    def cameras(self, space: MotionSpace, motions: Sequence[RigidTransforms], count: int) -> Cameras:
        """For these motions and so many frames."""
        steps = torch.arange(count if self.turns else 1) * (360.0 * self.turns / count)
        viewmats = picture.orbit(self.azimuth_deg + steps, self.elevation_deg)
        seen = viewmats[:: max(1, len(viewmats) // 12)]
        K = picture.frame(picture.visited(space.scene, motions), seen, self.size, centred=bool(self.turns))
        return Cameras(viewmats, K[None], self.size)


def choose(
    space: MotionSpace,
    around: Around,
    path: Path | None = None,
    view: str | None = None,
    data: Path | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[Around | Cameras, tuple[Dataset, View] | None]:
    """From where a user looks: through a view of the dataset `data`, or of the one that the space was trained on, along
    a path, or from around; in this size (h, w), else in theirs. And the truth to show beside it: the dataset and the
    view, if there is a dataset. Raises DimoError."""
    if path is not None and (view is not None or data is not None):
        raise DimoError("A camera path and a view of the dataset were given; the video is seen from one of them.")
    if path is not None:
        return of_path(path).resized(size), None
    if data is not None:
        dataset = load(data)
        whole = [
            v for v in dataset.test_views + dataset.train_views if len(dataset.expected_frames(v)) == dataset.frames
        ]
        found = find_view(dataset.views, view, f"The dataset {data}") if view else whole[0]
        return of_view(found).resized(size), (dataset, found)
    if view is not None:
        return of_view(find_view(space.views, view, "The scene")).resized(size), None
    return (around if size is None else replace(around, size=size)), None


def of_view(view: View) -> Cameras:
    """A camera of the dataset, with images of its own size."""
    K = torch.tensor([[view.fl_x, 0.0, view.cx], [0.0, view.fl_y, view.cy], [0.0, 0.0, 1.0]])
    return Cameras(viewmats_from_c2w(torch.from_numpy(view.c2w)).float()[None], K[None], (view.h, view.w))


def find_view(views: Sequence[View], name: str, where: str) -> View:
    """The view of this name. Raises DimoError."""
    found = next((view for view in views if view.name == name), None)
    if found is None:
        known = f"it has {', '.join(view.name for view in views)}" if views else "no cameras are known"
        raise DimoError(f"{where} has no view '{name}'; {known}.")
    return found


def of_path(path: Path) -> Cameras:
    """A camera path as nerfstudio's viewer saves it: perspective cameras, fov vertical. Raises DimoError."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(MAX_JSON_BYTES))
    except OSError as error:
        raise DimoError(f"There is no camera path at {path} ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise DimoError(f"The file {path} is not a camera path of nerfstudio's viewer ({error}).") from error
    if not isinstance(content, dict):
        raise DimoError(f"The file {path} is not a camera path of nerfstudio's viewer.")
    fields = Fields(content, str(path))
    if fields.text("camera_type", "perspective") != "perspective":
        raise fields.error("camera_type", "'perspective', the only kind that is rendered")
    size = fields.integer("render_height", *SIDES), fields.integer("render_width", *SIDES)
    frames = fields.entries("camera_path")
    matrices, focals = [], []
    for frame in frames:
        matrix = frame.values.get("camera_to_world")
        if not isinstance(matrix, list) or len(matrix) != 16 or not all(map(is_finite, matrix)):
            raise frame.error("camera_to_world", "16 numbers")
        matrices.append(torch.tensor(matrix, dtype=torch.float64).view(4, 4))
        fov = frame.number("fov")
        if not 0 < fov < 180:
            raise frame.error("fov", "degrees, between 0 and 180")
        focals.append(0.5 * size[0] / math.tan(math.radians(fov) / 2))
    Ks = torch.tensor([[[f, 0.0, size[1] / 2], [0.0, f, size[0] / 2], [0.0, 0.0, 1.0]] for f in focals])
    timed = all("render_time" in frame.values for frame in frames)
    times = torch.tensor([frame.number("render_time") for frame in frames]) if timed else None
    fps = fields.number("fps", 24.0)
    if fps <= 0:
        raise fields.error("fps", "a positive number")
    return Cameras(viewmats_from_c2w(torch.stack(matrices)).float(), Ks, size, times, fps)
