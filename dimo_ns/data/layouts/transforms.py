"""The layout of D-NeRF and nerfstudio, for an object that moves before cameras that stand still: `transforms.json`, or
`transforms_train.json` and `transforms_test.json`, in the dataset's folder or in a folder for each motion.

Frames with the same `transform_matrix` (OpenGL camera-to-world) are one view; `time` says which frame of it they are.
A camera that moves through the scene has a matrix of its own in every frame: that is refused.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dimo_ns.data.dataset import Dataset, Motion, View
from dimo_ns.data.image_files import MAX_PIXELS, read_header
from dimo_ns.data.images import Source
from dimo_ns.data.layouts.lenses import is_pose
from dimo_ns.data.layouts.reading import MAX_FRAMES, PLAYBACK_FPS, MotionsFile, finish, folders_in, read_view, source_at
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import Fields, inside, read_json

FILES = {"transforms.json": "train", "transforms_train.json": "train", "transforms_test.json": "test"}
"""The split of each file's views."""
FILLED = 0.5
"""At least this part of (view, time) has a picture, where cameras stand still."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture, and where it was taken."""

    view: View
    time: float
    path: Path
    mask: Path | None


def motion_folders(root: Path) -> list[Path]:
    """The folders that hold a transforms.json: the dataset's own, or those of its motions."""
    candidates = [root, *(root / name for name in folders_in(root))]
    found = [p for p in candidates if any((p / name).is_file() for name, split in FILES.items() if split == "train")]
    return found[:1] if found[:1] == [root] else found


def load(root: Path) -> Dataset:
    """Reads such a dataset. Raises DimoError, also for cameras that move."""
    shots = {folder: _shots(root, folder) for folder in motion_folders(root)}
    views: dict[tuple, View] = {}
    sources: dict[tuple[str, str, int], Source] = {}
    tested: set[int] = set()
    counts: dict[str, int] = {}
    for folder, found in shots.items():
        times = _times(folder, found)
        counts[folder.name] = len(times)
        for shot in found:
            view = views.setdefault(_key(shot.view), _named(shot.view, list(views.values())))
            place = folder.name, view.name, times.index(shot.time)
            if place in sources:
                raise DimoError(
                    f"{folder} has two pictures of one camera at time {shot.time:g}: {shot.path.name} is one."
                )
            sources[place] = source_at(shot.path, shot.mask, view)
            if view.split == "test":
                tested.add(place[2])
    if len(set(counts.values())) != 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DimoError(f"The motions in {root} have different numbers of frames: {told}; expected the same in all.")
    frames = next(iter(counts.values()))
    motions = tuple(
        Motion(name, name.replace("_", " "), "train", False, tuple(f / PLAYBACK_FPS for f in range(frames)))
        for name in counts
    )
    meta = MotionsFile(root.name, "", "", frames, PLAYBACK_FPS, tuple(sorted(tested)) or tuple(range(frames)), motions)
    missing = [
        f"{motion}/{view.name} ({absent} of {frames})"
        for motion in counts
        for view in views.values()
        if view.split == "train" and (absent := sum((motion, view.name, f) not in sources for f in range(frames)))
    ]
    remark = f"Read from transforms.json: {len(views)} cameras that stand still, {frames} frames."
    return finish(root, meta, tuple(views.values()), sources, missing, [], [remark])


def _shots(root: Path, folder: Path) -> list[Shot]:
    """The pictures that a folder's files speak of, in their order."""
    files = {folder / name: split for name, split in FILES.items() if (folder / name).exists()}
    return [shot for path, split in files.items() for shot in _shots_of(root, folder, path, split)]


def _shots_of(root: Path, folder: Path, file: Path, split: str) -> Iterator[Shot]:
    data = read_json(inside(root, file))
    before: Counter[tuple] = Counter()
    for i, entry in enumerate(data.entries("frames")):
        path = _path(root, folder, entry, "file_path")
        shared = {k: v for k, v in data.values.items() if k != "frames"}
        merged = Fields({**shared, **entry.values, "name": f"frame {i}", "split": split}, entry.where)
        if not is_pose(entry.values.get("transform_matrix")):
            raise entry.error("transform_matrix", "4 rows of 4 finite numbers")
        merged.values["c2w"] = merged.values.pop("transform_matrix")
        _add_intrinsics(merged, path)
        mask = _path(root, folder, entry, "mask_path") if "mask_path" in entry.values else None
        view = read_view(merged, Fields({}, entry.where))
        # Without a time, pictures of one camera are taken to follow each other.
        yield Shot(view, entry.number("time", float(before[_key(view)])), path, mask)
        before[_key(view)] += 1


def _path(root: Path, folder: Path, entry: Fields, key: str) -> Path:
    name = entry.text(key, "")
    path = folder / name if Path(name).suffix else folder / f"{name}.png"
    if not name or not path.is_file():
        raise entry.error(key, f"a picture in {folder}")
    return inside(root, path)


def _add_intrinsics(camera: Fields, path: Path) -> None:
    """What a pinhole needs, where the file says it by angles or leaves it to the picture."""
    values = camera.values
    if "w" not in values or "h" not in values:
        header = read_header(path)
        values["w"], values["h"] = header.w, header.h
    for key in ("w", "h"):  # some write them as 800.0
        if isinstance(values[key], float) and values[key].is_integer():
            values[key] = int(values[key])
    w, h = camera.integer("w", 1, MAX_PIXELS), camera.integer("h", 1, MAX_PIXELS)
    if "fl_x" not in values:
        angle = camera.number("camera_angle_x")
        if not 0 < angle < math.pi:
            raise camera.error("camera_angle_x", "an angle between 0 and pi, in radians")
        values["fl_x"] = 0.5 * w / math.tan(angle / 2)
    values.setdefault("fl_y", values["fl_x"])
    values.setdefault("cx", w / 2)
    values.setdefault("cy", h / 2)


def _times(folder: Path, shots: list[Shot]) -> list[float]:
    """The times of a motion, ascending. Raises DimoError if its camera moves."""
    train = [shot for shot in shots if shot.view.split == "train"]
    times = sorted({shot.time for shot in shots})
    cameras = len({_key(shot.view) for shot in train})
    if len(times) > 1 and len({s.time for s in train}) * cameras * FILLED > len(train):
        raise DimoError(
            f"The camera of {folder} moves: its {len(train)} training pictures are of {len({s.time for s in train})} "
            f"times and from {cameras} places; expected every view at every time, from cameras that stand still."
        )
    if len(times) > MAX_FRAMES:
        raise DimoError(f"{folder} has pictures of {len(times):,} times; expected at most {MAX_FRAMES:,}.")
    return times


def _key(view: View) -> tuple:
    """What is the same in all pictures of one camera."""
    lengths = (view.fl_x, view.fl_y, view.cx, view.cy)
    return (view.split, view.w, view.h, *np.round(lengths, 3), *np.round(view.c2w, 5).flat)


def _named(view: View, before: list[View]) -> View:
    count = sum(other.split == view.split for other in before)
    return replace(view, name=f"{'view' if view.split == 'train' else 'test'}_{count:02d}")
