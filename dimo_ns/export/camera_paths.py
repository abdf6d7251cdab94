"""Where a video is seen from: around the object, from a view of the dataset, or along a path of nerfstudio's viewer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.core.cameras import Cameras, from_fov, orbit, viewmats_from_c2w
from dimo_ns.core.types import RigidTransforms
from dimo_ns.data.dataset import Dataset, View, cameras_of
from dimo_ns.data.format import load
from dimo_ns.draw.close_ups import visited, zoomed
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import is_finite, read_json
from dimo_ns.space.motion_space import MotionSpace

SIDES = (16, 4096)
"""How long the sides of an image are at least and at most, in pixels."""


@dataclass(frozen=True, eq=False)
class CameraPath:
    """One camera for all frames of a video, or one for each. Raises DimoError for images of no sensible size."""

    cameras: Cameras
    """[n]."""
    times: Float[Tensor, " n"] | None = None
    """When in the motion each one looks, in [0, 1], where the path says so itself."""
    fps: float | None = None
    """The path's own, where it has one."""

    def __post_init__(self):
        check_size(self.cameras.size)

    def resized(self, size: tuple[int, int] | None) -> "CameraPath":
        """The same path with images of another (h, w) that show as much from top to bottom; None: of the same size."""
        if size is None or size == self.cameras.size:
            return self
        h, w = self.cameras.size
        scale = size[0] / h
        Ks = self.cameras.Ks.clone()
        Ks[:, :2] *= scale
        Ks[:, 0, 2] += (size[1] - scale * w) / 2
        return replace(self, cameras=replace(self.cameras, Ks=Ks, size=size))


@dataclass(frozen=True)
class Around:
    """A camera at a distance of 2 that looks at the object and shows all of its motions as large as fits."""

    azimuth_deg: float = 40.0
    elevation_deg: float = 15.0
    turns: float = 0.0
    """How many times it goes around the object in the whole video."""
    size: tuple[int, int] = (512, 512)
    """(h, w)."""

    def __post_init__(self):
        check_size(self.size)

    def cameras(self, space: MotionSpace, motions: Sequence[RigidTransforms], count: int) -> Cameras:
        """The cameras [n] for these motions and so many frames: one for all, or one for each."""
        steps = torch.arange(count if self.turns else 1) * (360.0 * self.turns / count)
        cameras = orbit(self.azimuth_deg + steps, self.elevation_deg, self.size)
        return zoomed(visited(space.scene, motions), cameras, centred=bool(self.turns))


def check_size(size: tuple[int, int]) -> None:
    """Refuses images (h, w) that are too small or too large to be rendered. Raises DimoError."""
    for side in size:
        if not SIDES[0] <= side <= SIDES[1]:
            raise DimoError(f"An image side of {side} pixels was asked for; expected {SIDES[0]} to {SIDES[1]}.")


def choose(
    space: MotionSpace,
    around: Around,
    path: Path | None = None,
    view: str | None = None,
    data: Path | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[Around | CameraPath, tuple[Dataset, View] | None]:
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


def of_view(view: View) -> CameraPath:
    """A camera of the dataset, with images of its own size."""
    return CameraPath(cameras_of([view]))


def find_view(views: Sequence[View], name: str, where: str) -> View:
    """The view of this name. Raises DimoError."""
    found = next((view for view in views if view.name == name), None)
    if found is None:
        known = f"it has {', '.join(view.name for view in views)}" if views else "no cameras are known"
        raise DimoError(f"{where} has no view '{name}'; {known}.")
    return found


def of_path(path: Path) -> CameraPath:
    """Reads a camera path as nerfstudio's viewer saves it: perspective cameras, fov vertical. Raises DimoError."""
    if not path.exists():
        raise DimoError(f"There is no camera path at {path}; expected a file that nerfstudio's viewer saved.")
    fields = read_json(path)
    if fields.text("camera_type", "perspective") != "perspective":
        raise fields.error("camera_type", "'perspective', the only kind that is rendered")
    size = fields.integer("render_height", *SIDES), fields.integer("render_width", *SIDES)
    frames = fields.entries("camera_path")
    matrices, fovs = [], []
    for frame in frames:
        matrix = frame.values.get("camera_to_world")
        if not isinstance(matrix, list) or len(matrix) != 16 or not all(map(is_finite, matrix)):
            raise frame.error("camera_to_world", "16 numbers")
        matrices.append(torch.tensor(matrix, dtype=torch.float64).view(4, 4))
        fov = frame.number("fov")
        if not 0 < fov < 180:
            raise frame.error("fov", "degrees, between 0 and 180")
        fovs.append(fov)
    Ks = from_fov(torch.tensor(fovs, dtype=torch.float64), size).float()
    cameras = Cameras(viewmats_from_c2w(torch.stack(matrices)).float(), Ks, size)
    timed = all("render_time" in frame.values for frame in frames)
    times = torch.tensor([frame.number("render_time") for frame in frames]) if timed else None
    fps = fields.number("fps", 24.0)
    if fps <= 0:
        raise fields.error("fps", "a positive number")
    return CameraPath(cameras, times, fps)
