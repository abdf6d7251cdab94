"""Reading what the layouts share: motions.json, cameras.json, image folders, and the Dataset that comes of them.

Headers of images are opened, never pixels. Everything that a user can get wrong is a DimoError that says where.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from dimo_ns.data.dataset import Dataset, Motion, View
from dimo_ns.data.image_files import IMAGE_SUFFIXES, MAX_PIXELS, read_header
from dimo_ns.data.images import Source
from dimo_ns.data.layouts.lenses import INTRINSICS, check_lens, check_still, unread
from dimo_ns.data.placement import AT_HOME, Placement
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import Fields, check_unique, inside, is_finite, read_json

MAX_FRAMES = 10_000
PLAYBACK_FPS = 8.0
"""Frames per second where a dataset does not say."""
OTHER_PICTURES = (".avif", ".bmp", ".exr", ".gif", ".heic", ".heif", ".jxl", ".ppm", ".tga", ".tif", ".tiff")
"""Endings of pictures that are not read."""


@dataclass(frozen=True)
class MotionsFile:
    """The content of motions.json, checked."""

    object: str
    prompt: str
    licence: str
    frames: int
    fps: float | None
    """None: it does not say."""
    test_frames: tuple[int, ...]
    motions: tuple[Motion, ...]
    untimed: frozenset[str] = frozenset()
    """Names of the motions of which it does not say when their frames were taken."""


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
    entries = data.entries("motions")
    motions = tuple(read_motion(entry, frames, fps) for entry in entries)
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
        fps=fps if rate in data.values else None,
        test_frames=tuple(sorted(set(test_frames))),
        motions=motions,
        untimed=frozenset(
            m.name for m, e in zip(motions, entries, strict=True) if not {"times_s", "fps"} & {*e.values}
        ),
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
    azimuth, elevation = (
        entry.number(k) if entry.values.get(k) is not None else None for k in ("azimuth_deg", "elevation_deg")
    )
    trust = entry.number("trust", 1.0)
    if not 0 < trust <= 1:
        raise entry.error("trust", "a number above 0 and at most 1, which is full trust")
    fl_x, fl_y, cx, cy = (merged.number(key) for key in INTRINSICS[2:])
    return View(name, split, w, h, fl_x, fl_y, cx, cy, _pose(entry), azimuth, elevation, trust)


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
    problems, missing, unused = [], [], []
    for motion in meta.motions:
        folder = inside(root, root / motion.name)
        if not folder.is_dir():
            raise DimoError(f"The motion '{motion.name}' is listed but its folder {folder} is missing.")
        strangers = folders_in(folder, [view.name for view in views])
        for view in views:
            name = f"{motion.name}/{view.name}"
            found = list_frames(root, folder / view.name)
            strangers += [f"{view.name}/{other}" for other in found.others]
            expected = meta.test_frames if view.split == "test" else range(meta.frames)
            check_numbering(folder / view.name, found.frames, expected, meta.frames)
            beyond = [i for i in found.frames if i >= meta.frames]
            if beyond:
                problems.append(f"{name} has frames from {beyond[0]} on; the dataset has {meta.frames}.")
            absent = sum(i not in found.frames for i in expected)
            if absent:
                missing.append(f"{name} ({absent} of {len(expected)})")
            sources |= {
                (motion.name, view.name, i): source_at(path, found.masks.get(i), view)
                for i, path in found.frames.items()
                if i < meta.frames
            }
        if not any((motion.name, v.name, i) in sources for v in views for i in range(meta.frames)):
            seen = f" (there are {_some(strangers)})" if strangers else ""
            raise DimoError(
                f"The motion '{motion.name}' has no frames in {folder}{seen}; expected <view>/00.png and so on, named "
                f"by the frame's number, in {_some([view.name for view in views])}."
            )
        unused += [f"{motion.name}/{other}" for other in strangers]
    return finish(root, meta, views, sources, missing, problems, [*remarks, *passed_over(unused)], placement)


def check_numbering(folder: Path, found: Iterable[int], expected: Sequence[int], frames: int) -> None:
    """Raises DimoError if frames are missing because all are numbered otherwise: from 1, or in steps, or by time."""
    numbers = sorted(found)
    if not numbers or numbers[-1] < frames or all(i in numbers for i in expected):
        return
    steps = {b - a for a, b in pairwise(numbers)}
    if numbers[0] > 0 or (len(steps) == 1 and steps != {1}):
        apart = f", {min(steps)} apart" if len(steps) == 1 and steps != {1} else ""
        raise DimoError(
            f"The frames in {folder} are numbered from {numbers[0]} to {numbers[-1]}{apart}; expected 0 to "
            f"{frames - 1}. Rename them, so that the first is 00 (any number of digits will do)."
        )


def source_at(path: Path, mask: Path | None, view: View) -> Source:
    """One image of a view, with its mask where it has one. Raises DimoError."""
    header = read_header(path)
    if (header.w, header.h) != (view.w, view.h):
        raise DimoError(
            f"The image {path} is {header.w} x {header.h}, but the camera of {view.name} says {view.w} x {view.h}; "
            "all images of a view must have the size of its camera."
        )
    return Source(path, path.stat().st_size, header.has_alpha, mask)


def folders_in(folder: Path, but: Sequence[str] = ()) -> list[str]:
    """The names of the folders in it, but for these; what begins with a dot or an underscore does not count."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name not in but and p.name[0] not in "._")


def passed_over(unused: Sequence[str]) -> list[str]:
    """The remark about what lies beside the frames and is not read, if there is anything."""
    return [f"Passed over, as they are no frames of a view or masks of one: {_some(unused)}."] if unused else []


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


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
        problems.append(f"Frames are missing in {_some(missing)}; they are left out of training.")
    listed = {m.name for m in meta.motions} | {s.path.relative_to(root).parts[0] for s in sources.values()}
    strangers = folders_in(root, sorted(listed))
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
        fps=meta.fps or PLAYBACK_FPS,
        views=tuple(views),
        motions=meta.motions,
        sources=sources,
        tracks=inside(root, tracks) if tracks.exists() else None,
        test_frames=meta.test_frames,
        problems=tuple(problems),
        remarks=tuple(remarks),
        placement=placement,
    )


@dataclass(frozen=True)
class Listing:
    """What a folder of frames holds."""

    frames: dict[int, Path]
    """Ascending."""
    masks: dict[int, Path]
    """Of those frames that have one."""
    others: list[str]
    """Names of pictures, masks and folders that are none of these."""


def list_frames(root: Path, folder: Path) -> Listing:
    """What is in a folder of frames, by its names: a number is a frame, a number and `_mask` its mask. Raises
    DimoError."""
    found: dict[str, dict[int, Path]] = {"frame": {}, "mask of frame": {}}
    frames, masks = found.values()
    unread: dict[int, Path] = {}
    rest: list[str] = []
    if not folder.exists():
        return Listing(frames, masks, rest)
    inside(root, folder)
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            path = folder / entry.name
            kind, number = _kind(path)
            if kind is None:
                rest += [entry.name] if entry.name[0] != "." and (_is_picture(path) or entry.is_dir()) else []
                continue
            if kind == "unread frame":
                unread[number] = path
                continue
            if entry.is_symlink():
                inside(root, path)
            if not entry.is_file():
                raise DimoError(f"{path} is not a file; expected an image.")
            if number in found[kind]:
                raise DimoError(f"{folder} has {kind} {number} twice: {found[kind][number].name} and {entry.name}.")
            found[kind][number] = path
    for path in (path for number, path in unread.items() if number not in frames):
        raise DimoError(f"The frame {path} is not a PNG, JPEG or WebP image; convert it.")
    rest += [path.name for number, path in masks.items() if number not in frames]
    return Listing(dict(sorted(frames.items())), masks, rest)


def _kind(path: Path) -> tuple[str | None, int]:
    """What a file in a folder of frames is, by its name, and of which frame."""
    name, suffix = re.fullmatch(r"([0-9]+)(_mask)?", path.stem), path.suffix.lower()
    if not name:
        return None, 0
    kind = None
    if name[2]:
        kind = "mask of frame" if suffix in (*IMAGE_SUFFIXES, ".npy") else None
    elif suffix in IMAGE_SUFFIXES:
        kind = "frame"
    elif suffix in OTHER_PICTURES:
        kind = "unread frame"
    return kind, int(name[1])


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in (*IMAGE_SUFFIXES, *OTHER_PICTURES, ".npy")
