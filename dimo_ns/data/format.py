"""The dataset on disk: what it holds, how it is read, checked and written.

    <dataset>/motions.json             object, prompt, frames, motions [{name, prompt, split, loop, times_s}], ...
    <dataset>/cameras.json             w h fl_x fl_y cx cy, views [{name, split, azimuth_deg, elevation_deg, c2w}]
    <dataset>/<motion>/<view>/00.png   RGBA, straight alpha (also JPEG and WebP)
    <dataset>/tracks.npz               optional ground truth

World right-handed, z-up; c2w is OpenGL camera-to-world; pixel centres at +0.5. `load` opens headers, never pixels.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dimo_ns.data.dataset import Dataset, Motion, View, orbit_view
from dimo_ns.data.image_files import Rgba
from dimo_ns.data.images import Source
from dimo_ns.data.layouts import authors, transforms, videos
from dimo_ns.data.layouts.lenses import INTRINSICS
from dimo_ns.data.layouts.reading import PLAYBACK_FPS, assemble, read_cameras, read_motions
from dimo_ns.data.placement import AT_HOME, Placement
from dimo_ns.data.video_files import VIDEO_ENDINGS
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import is_name
from dimo_ns.files.opening import expanded, resolved
from dimo_ns.files.output import check_free, complete

__all__ = ["Dataset", "Motion", "Source", "View", "load", "orbit_view", "write"]

CAMERA_CONVENTION = (
    "c2w is OpenGL camera-to-world (x right, y up, looking along -z); world is right-handed, +Z up; "
    "pixel centres at +0.5"
)


def load(path: Path | str, *, frames: int | None = None) -> Dataset:
    """Reads a dataset in our layout, the authors' layout (`info.json` only) or as a folder of videos per motion.

    `frames` says how many frames to take of every video, for a folder of videos without a `motions.json`.
    Raises DimoError for anything that cannot be trained on; lesser troubles are in `Dataset.problems`.
    """
    root = resolved(path)
    if not root.is_dir():
        raise DimoError(f"There is no dataset at {path}: expected a folder with a motions.json.")
    try:
        if videos.is_video_folder(root):
            return videos.load(root, frames)
        if (root / "info.json").exists() and not (root / "motions.json").exists():
            return authors.load(root)
        if not (root / "motions.json").exists() and transforms.motion_folders(root):
            return transforms.load(root)
        return _load_ours(root)
    except OSError as error:
        raise DimoError(f"The dataset {root} cannot be read: {error}.") from error


def _load_ours(root: Path) -> Dataset:
    if not (root / "motions.json").exists():
        raise DimoError(
            f"There is no dataset at {root}: expected motions.json and cameras.json, an info.json in the "
            f"authors' layout, a transforms.json, or a folder of videos per motion, <motion>/<view>.mp4 (endings: "
            f"{VIDEO_ENDINGS})."
        )
    described, cameras = read_motions(root), read_cameras(root)
    return assemble(root, described, cameras.views, cameras.remarks, cameras.placement)


def write(
    root: Path,
    *,
    object: str,
    prompt: str,
    licence: str,
    views: Sequence[View],
    motions: Sequence[Motion],
    frames: Iterable[tuple[str, str, int, Rgba]],
    fps: float = PLAYBACK_FPS,
    test_frames: Sequence[int] | None = None,
    tracks: Mapping[str, Any] | None = None,
    source: str = "",
    attribution: str = "",
    placement: Placement = AT_HOME,
) -> Dataset:
    """Writes a dataset in our layout and loads it.

    `frames` yields (motion, view, frame, uint8 RGBA [h, w, 4] straight alpha) in any order, one image at a time. The
    number of frames T is the length of the motions' `times_s`; `test_frames` defaults to all of them. Views and tracks
    have the object at the origin; with a `placement` they are written in the world where it was. The folder
    `root` must not exist, or be empty; it appears, complete, at the end. Raises DimoError and leaves nothing behind
    otherwise.
    """
    root = expanded(root)
    check_free(root, overwrite=None)
    with complete(root.parent, [root.name], overwrite=None, what="The dataset") as partial:
        folder = partial / root.name
        folder.mkdir()
        origin = {"source": source, "attribution": attribution}
        described = _motions_json(object, prompt, licence, views, motions, fps, test_frames)
        _write_json(folder / "motions.json", described | origin)
        _write_json(folder / "cameras.json", _cameras_json(views, placement))
        _write_frames(folder, views, motions, frames)
        if tracks is not None:
            np.savez_compressed(folder / "tracks.npz", **_in_their_world(tracks, placement))
        load(folder)
    return load(root)


def _motions_json(
    object: str,
    prompt: str,
    licence: str,
    views: Sequence[View],
    motions: Sequence[Motion],
    fps: float,
    test_frames: Sequence[int] | None,
) -> dict[str, Any]:
    count = len(motions[0].times_s) if motions else 0
    return {
        "object": object,
        "prompt": prompt,
        "license": licence,
        "frames": count,
        "playback_fps": fps,
        "image": "<motion>/<view>/<frame:02d>.png",
        "alpha": "straight, 8 bit, sRGB",
        "train_views": [v.name for v in views if v.split == "train"],
        "test_views": [v.name for v in views if v.split == "test"],
        "test_frames": list(range(count)) if test_frames is None else list(test_frames),
        "motions": [asdict(m) for m in motions],
    }


def _cameras_json(views: Sequence[View], placement: Placement) -> dict[str, Any]:
    """The intrinsics of view 0 for all, and in each view what differs."""
    shared = {k: getattr(views[0], k) for k in INTRINSICS} if views else {}
    entries = []
    for view in views:
        fields = (view if placement == AT_HOME else view.moved(placement.undo(view.c2w[:3, 3]))).to_json()
        entries.append({k: v for k, v in fields.items() if k not in shared or v != shared[k]})
    where = {} if placement == AT_HOME else {"object": asdict(placement)}
    return {"convention": CAMERA_CONVENTION, **shared, **where, "views": entries}


def _in_their_world(tracks: Mapping[str, Any], placement: Placement) -> dict[str, Any]:
    """The arrays of tracks.npz, with points where the cameras on disk have them."""
    if placement == AT_HOME:
        return dict(tracks)
    return {k: placement.undo(v) if k in ("tracks", "canonical") else v for k, v in tracks.items()}


def _write_frames(
    folder: Path, views: Sequence[View], motions: Sequence[Motion], frames: Iterable[tuple[str, str, int, Rgba]]
) -> None:
    sizes = {v.name: (v.h, v.w, 4) for v in views}
    counts = {m.name: len(m.times_s) for m in motions}
    for name in [*sizes, *counts]:
        if not is_name(name):
            raise DimoError(f"'{name}' cannot name a motion or a view; expected the name of a folder.")
    for motion, view, index, rgba in frames:
        if motion not in counts or view not in sizes or not 0 <= index < counts[motion]:
            raise DimoError(f"The frame {motion}/{view}/{index} is not of a motion and view of this dataset.")
        if rgba.dtype != np.uint8 or rgba.shape != sizes[view]:
            raise DimoError(
                f"The frame {motion}/{view}/{index} is {rgba.dtype}{list(rgba.shape)}, not uint8{list(sizes[view])}."
            )
        path = folder / motion / view / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(rgba[..., 3:] > 0, rgba, np.uint8(0))).save(path, compress_level=1)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n")
