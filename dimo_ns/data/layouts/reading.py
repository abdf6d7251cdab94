"""Reading what the layouts share: motions.json, cameras.json, image folders, and the Dataset that comes of them.

Headers of images are opened, never pixels. Everything that a user can get wrong is a DimoError that says where.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from dimo_ns.data.dataset import Dataset, Motion, View
from dimo_ns.data.images import IMAGE_SUFFIXES, MAX_PIXELS, Source, read_header
from dimo_ns.data.layouts.lenses import INTRINSICS, check_lens, check_still, unread
from dimo_ns.data.placement import AT_HOME, Placement
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import Fields, check_unique, inside, is_finite, read_json

MAX_FRAMES = 10_000
PLAYBACK_FPS = 8.0
"""Frames per second where a dataset does not say."""


@dataclass(frozen=True)
class MotionsFile:
    """The content of motions.json, checked."""

    object: str
    prompt: str
    licence: str
    frames: int
    fps: float
    test_frames: tuple[int, ...]
    motions: tuple[Motion, ...]


@dataclass(frozen=True)
class CamerasFile:
    """The content of cameras.json, checked."""

    views: tuple[View, ...]
    """With the object at the origin."""
    placement: Placement = AT_HOME
    """Where it was."""
    remarks: tuple[str, ...] = ()
    """What is not read."""


def read_motions(root: Path) -> MotionsFile:
    """Reads and checks <root>/motions.json. Raises DimoError."""
    data = read_json(inside(root, root / "motions.json"))
    frames = data.integer("frames", 1, MAX_FRAMES)
    rate = "playback_fps" if "playback_fps" in data.values else "fps"
    fps = data.number(rate, PLAYBACK_FPS)
    if fps <= 0:
        raise data.error(rate, "a positive number")
    motions = tuple(read_motion(entry, frames, fps) for entry in data.entries("motions"))
    check_unique([m.name for m in motions], f"{root / 'motions.json'} names two motions")
    if not any(m.split == "train" for m in motions):
        raise DimoError(f"{root / 'motions.json'} has no motion with split 'train'; at least one is needed.")
    test_frames = data.values.get("test_frames", list(range(frames)))
    if not isinstance(test_frames, list) or not all(type(f) is int and 0 <= f < frames for f in test_frames):
        raise data.error("test_frames", f"a list of frame numbers from 0 to {frames - 1}")
    return MotionsFile(
        object=data.text("object", root.name),
        prompt=data.text("prompt", ""),
        licence=data.text("license", ""),
        frames=frames,
        fps=fps,
        test_frames=tuple(sorted(set(test_frames))),
        motions=motions,
    )


def read_cameras(root: Path) -> CamerasFile:
    """Reads and checks <root>/cameras.json. Raises DimoError."""
    data = read_json(inside(root, root / "cameras.json"))
    views = tuple(read_view(entry, data) for entry in data.entries("views"))
    check_unique([v.name for v in views], f"{root / 'cameras.json'} names two views")
    if not any(v.split == "train" for v in views):
        raise DimoError(f"{root / 'cameras.json'} has no view with split 'train'; at least one is needed.")
    placement = Placement.read(data)
    if placement != AT_HOME:
        views = tuple(view.moved(placement.place(view.c2w[:3, 3])) for view in views)
    known = ("name", "split", "c2w", "azimuth_deg", "elevation_deg", "trust")
    strange = [
        *unread(data, ("views", "object")),
        *(k for entry in data.entries("views") for k in unread(entry, known)),
    ]
    remarks = [f"Fields of cameras.json are not read: {', '.join(dict.fromkeys(strange))}."] if strange else []
    return CamerasFile(views, placement, tuple(remarks))


def read_motion(entry: Fields, frames: int, fps: float) -> Motion:
    """A motion of so many frames from its JSON object. Raises DimoError."""
    name = entry.name()
    if entry.integer("frames", 1, MAX_FRAMES, frames) != frames:
        raise entry.error("frames", f"{frames}, as for the whole dataset")
    step = 1.0 / entry.number("fps", fps) if entry.number("fps", fps) > 0 else 0.0
    times = entry.values.get("times_s", [i * step for i in range(frames)])
    if not isinstance(times, (list, tuple)) or len(times) != frames or not all(map(is_finite, times)):
        raise entry.error("times_s", f"{frames} finite numbers, one per frame")
    if any(b <= a for a, b in pairwise(times)):
        raise entry.error("times_s", "ascending seconds")
    return Motion(
        name=name,
        prompt=entry.text("prompt", name.replace("_", " ")),
        split=entry.choice("split", ("train", "held_out")),
        loop=entry.flag("loop", False),
        times_s=tuple(map(float, times)),
    )


def read_view(entry: Fields, top: Fields) -> View:
    """A camera from its JSON object, and from `top` what all cameras share. Raises DimoError."""
    name, split = entry.name(), entry.choice("split", ("train", "test"))
    merged = Fields({**top.values, **entry.values}, entry.where)
    w, h = merged.integer("w", 1, MAX_PIXELS), merged.integer("h", 1, MAX_PIXELS)
    if w * h > MAX_PIXELS:
        raise merged.error("w", f"a size of at most {MAX_PIXELS:,} pixels")
    check_lens(merged)
    check_still(entry)
    for key in ("fl_x", "fl_y"):
        if merged.number(key) <= 0:
            raise merged.error(key, "a positive focal length in pixels")
    angles = [entry.number(k) if entry.values.get(k) is not None else None for k in ("azimuth_deg", "elevation_deg")]
    trust = entry.number("trust", 1.0)
    if not 0 < trust <= 1:
        raise entry.error("trust", "a number above 0 and at most 1, which is full trust")
    fl_x, fl_y, cx, cy = (merged.number(key) for key in INTRINSICS[2:])
    return View(name, split, w, h, fl_x, fl_y, cx, cy, _pose(entry), *angles, trust)


def _pose(entry: Fields) -> Float64[np.ndarray, "4 4"]:
    rows = entry.values.get("c2w")
    if not (
        isinstance(rows, list)
        and len(rows) == 4
        and all(isinstance(row, list) and len(row) == 4 and all(map(is_finite, row)) for row in rows)
    ):
        raise entry.error("c2w", "4 rows of 4 finite numbers")
    c2w = np.array(rows, dtype=np.float64)
    rotation = c2w[:3, :3]
    if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
        raise entry.error("c2w", "a rotation in its upper 3 x 3 (no scale, shear or mirror)")
    if not np.allclose(c2w[3], [0, 0, 0, 1]):
        turned = ": it is transposed" if np.allclose(c2w[:, 3], [0, 0, 0, 1]) else ""
        raise entry.error("c2w", f"a last row of 0 0 0 1{turned}")
    return c2w


def assemble(
    root: Path,
    meta: MotionsFile,
    views: Sequence[View],
    remarks: Sequence[str] = (),
    placement: Placement = AT_HOME,
) -> Dataset:
    """Finds the image of every motion, view and frame under `root` and checks the headers against the cameras."""
    sources: dict[tuple[str, str, int], Source] = {}
    problems, missing = [], []
    for motion in meta.motions:
        folder = inside(root, root / motion.name)
        if not folder.is_dir():
            raise DimoError(f"The motion '{motion.name}' is listed but its folder {folder} is missing.")
        for view in views:
            found = list_frames(root, folder / view.name)
            unused = [i for i in found if i >= meta.frames]
            if unused:
                problems.append(
                    f"{motion.name}/{view.name} has frames from {unused[0]} on; the dataset has {meta.frames}."
                )
            expected = meta.test_frames if view.split == "test" else range(meta.frames)
            absent = sum(i not in found for i in expected)
            if absent:
                missing.append(f"{motion.name}/{view.name} ({absent} of {len(expected)})")
            sources |= {
                (motion.name, view.name, i): source_at(root, path, view) for i, path in found.items() if i < meta.frames
            }
        if not any((motion.name, v.name, i) in sources for v in views for i in range(meta.frames)):
            raise DimoError(f"The motion '{motion.name}' has no frames in {folder}; expected <view>/00.png and so on.")
    return finish(root, meta, views, sources, missing, problems, remarks, placement)


def source_at(root: Path, path: Path, view: View) -> Source:
    """One image of a view, with the mask that lies beside it. Raises DimoError."""
    header = read_header(path)
    if (header.w, header.h) != (view.w, view.h):
        raise DimoError(
            f"The image {path} is {header.w} x {header.h}, but the camera of {view.name} says {view.w} x {view.h}; "
            "all images of a view must have the size of its camera."
        )
    mask = path.with_name(f"{path.stem}_mask.npy")
    masked = inside(root, mask) if mask.exists() else None
    return Source(path, path.stat().st_size, header.has_alpha, masked)


def finish(
    root: Path,
    meta: MotionsFile,
    views: Sequence[View],
    sources: dict[tuple[str, str, int], Source],
    missing: Sequence[str],
    problems: Sequence[str],
    remarks: Sequence[str],
    placement: Placement = AT_HOME,
) -> Dataset:
    """The Dataset, with the problems and remarks that every layout shares."""
    problems, remarks = list(problems), list(remarks)
    if placement != AT_HOME:
        at = ", ".join(f"{c:g}" for c in placement.centre)
        remarks.append(
            f"The object, at ({at}) with a radius of {placement.radius:g}, is brought to the origin and 0.5."
        )
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        problems.append(f"Frames are missing in {', '.join(missing[:3])}{more}; they are left out of training.")
    listed = {m.name for m in meta.motions} | {s.path.relative_to(root).parts[0] for s in sources.values()}
    strangers = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name not in listed and p.name[0] not in "._")
    if strangers:
        problems.append(f"Folders that are not in the list of motions are ignored: {', '.join(strangers[:5])}.")
    if meta.frames == 1:
        problems.append("There is one frame only: nothing moves.")
    if sum(v.split == "train" for v in views) == 1:
        problems.append("There is one training view only: the shape is not determined from other sides.")
    white = sum(not s.has_alpha and s.mask is None for s in sources.values())
    if white:
        remarks.append(f"{white} frames have neither alpha nor a mask; what is white in them is taken as background.")
    tracks = root / "tracks.npz"
    return Dataset(
        root=root,
        object=meta.object,
        prompt=meta.prompt,
        licence=meta.licence,
        frames=meta.frames,
        fps=meta.fps,
        views=tuple(views),
        motions=meta.motions,
        sources=sources,
        tracks=inside(root, tracks) if tracks.exists() else None,
        test_frames=meta.test_frames,
        problems=tuple(problems),
        remarks=tuple(remarks),
        placement=placement,
    )


def list_frames(root: Path, folder: Path) -> dict[int, Path]:
    """Frame number -> image file, ascending; files whose name is not a number are passed over. Raises DimoError."""
    if not folder.exists():
        return {}
    inside(root, folder)
    found: dict[int, Path] = {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            stem, suffix = os.path.splitext(entry.name)
            if not re.fullmatch(r"[0-9]{1,6}", stem) or not suffix:
                continue
            path = folder / entry.name
            if entry.is_symlink():
                inside(root, path)
            if suffix.lower() not in IMAGE_SUFFIXES:
                raise DimoError(f"The frame {path} is not a PNG, JPEG or WebP image; convert it.")
            if not entry.is_file():
                raise DimoError(f"{path} is not a file; expected an image.")
            if int(stem) in found:
                raise DimoError(f"{folder} has frame {int(stem)} twice: {found[int(stem)].name} and {entry.name}.")
            found[int(stem)] = path
    return dict(sorted(found.items()))
