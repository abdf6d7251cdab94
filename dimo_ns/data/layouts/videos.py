"""The layout of a folder of videos: <root>/<motion>/<view>.mp4 (or webm, mov, avi, gif).

`cameras.json` says where the cameras are; without it the views, sorted by name, stand at equal angles around the
object. `motions.json` says what the motions are and how many frames T to take; without it every folder is
a motion to train on. T frames are taken evenly from the first to the last.
"""

from pathlib import Path

from dimo_ns.data.dataset import Dataset, Motion, View, orbit_view
from dimo_ns.data.images import VIDEO_SUFFIXES, Source, video_header
from dimo_ns.data.layouts.reading import (
    MAX_FRAMES,
    PLAYBACK_FPS,
    CamerasFile,
    MotionsFile,
    finish,
    read_cameras,
    read_motions,
)  # fmt: skip
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import inside

DEFAULT_FRAMES = 21


def is_video_folder(root: Path) -> bool:
    """Whether the folders in `root` hold videos and no folders of images."""
    folders = [p for p in root.iterdir() if p.is_dir() and p.name[0] not in "._"]
    return not any(p.is_dir() for f in folders for p in f.iterdir()) and any(map(_videos, folders))


def load(root: Path, frames: int | None = None) -> Dataset:
    """Reads a folder of videos, `frames` of each (21 if neither that nor a motions.json says so). Raises DimoError."""
    remarks: list[str] = []
    if (root / "motions.json").exists():
        described = read_motions(root)
    else:
        described = _described(root, DEFAULT_FRAMES if frames is None else frames)
        remarks.append(f"There is no motions.json: {described.frames} frames are taken from each video.")
    clips = {m.name: _videos(inside(root, root / m.name)) for m in described.motions}
    for name, found in clips.items():
        if not found:
            raise DimoError(f"The motion '{name}' is listed but {root / name} holds no videos <view>.mp4.")
    if (root / "cameras.json").exists():
        cameras = read_cameras(root)
        remarks += cameras.remarks
    else:
        cameras = CamerasFile(_ring(next(iter(clips.values()))))
        count = len(cameras.views)
        remarks.append(f"There is no cameras.json: {count} views at equal angles and elevation 0 are assumed.")
    views = cameras.views

    sources: dict[tuple[str, str, int], Source] = {}
    missing = []
    for motion, found in clips.items():
        for view in views:
            if view.name not in found:
                missing.append(f"{motion}/{view.name}")
                continue
            clip = _sources(found[view.name], view, described.frames)
            expected = described.test_frames if view.split == "test" else range(described.frames)
            sources |= {(motion, view.name, i): clip[i] for i in expected}
        if not any(view.name in found for view in views):
            raise DimoError(f"The videos in {root / motion} have none of the names of the views: {', '.join(found)}.")
    remarks.append(
        "Frames come out of videos, which is slow if they do not all fit in memory; convert such a set to images."
    )
    return finish(root, described, views, sources, missing, [], remarks, cameras.placement)


def _sources(path: Path, view: View, count: int) -> list[Source]:
    """`count` frames of a video, evenly from the first to the last."""
    header, length = video_header(path)
    if (header.w, header.h) != (view.w, view.h):
        raise DimoError(
            f"The video {path} is {header.w} x {header.h}, but the camera of {view.name} says {view.w} x {view.h}."
        )
    if length < count:
        raise DimoError(f"The video {path} has {length} frames; {count} are to be taken from it.")
    picked = [round(i * (length - 1) / max(count - 1, 1)) for i in range(count)]
    size = path.stat().st_size
    return [Source(path, size, header.has_alpha, video_frame=index) for index in picked]


def _videos(folder: Path) -> dict[str, Path]:
    """View name -> video, sorted by name."""
    if not folder.is_dir():
        raise DimoError(f"The motion '{folder.name}' is listed but its folder {folder} is missing.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in VIDEO_SUFFIXES or not path.is_file():
            continue
        if path.stem in found:
            raise DimoError(f"{folder} has the view '{path.stem}' twice: {found[path.stem].name} and {path.name}.")
        found[path.stem] = inside(folder.parent, path)
    return found


def _described(root: Path, frames: int) -> MotionsFile:
    if not 0 < frames <= MAX_FRAMES:
        raise DimoError(f"{frames} frames are asked for; expected 1 to {MAX_FRAMES}.")
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] not in "._" and _videos(p))
    times = tuple(f / PLAYBACK_FPS for f in range(frames))
    motions = tuple(Motion(n, n.replace("_", " "), "train", False, times) for n in names)
    return MotionsFile(root.name, "", "", frames, PLAYBACK_FPS, tuple(range(frames)), motions)


def _ring(clips: dict[str, Path]) -> tuple[View, ...]:
    views = []
    for i, (name, path) in enumerate(clips.items()):
        header, _ = video_header(path)
        if header.w != header.h:
            raise DimoError(f"The video {path} is {header.w} x {header.h}; without a cameras.json it must be square.")
        views.append(orbit_view(name, "train", 360.0 * i / len(clips), 0.0, header.w))
    return tuple(views)
