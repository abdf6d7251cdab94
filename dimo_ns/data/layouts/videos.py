"""The layout of a folder of videos: <root>/<motion>/<view>.mp4, or another ending of `VIDEO_SUFFIXES`.

`cameras.json` says where the cameras are; without it the views, sorted by name, stand at equal angles around the
object. `motions.json` says what the motions are and how many frames T to take; without it every folder is a motion to
train on. T frames are taken evenly in time, from the first to the last that all videos of a motion have; when they were
shown is when they were taken, unless motions.json says otherwise.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from dimo_ns.data.dataset import Dataset, Motion, View, orbit_view, playback_rate
from dimo_ns.data.images import Source
from dimo_ns.data.layouts.reading import (
    MAX_FRAMES,
    CamerasFile,
    MotionsFile,
    finish,
    folders_in,
    passed_over,
    read_cameras,
    read_motions,
)
from dimo_ns.data.video_files import VIDEO_ENDINGS, VideoHeader, is_video, video_header
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import inside

DEFAULT_FRAMES = 21

Clips = Mapping[str, Mapping[str, VideoHeader]]
"""Motion -> view -> video."""


def is_video_folder(root: Path) -> bool:
    """Whether the folders in `root` hold videos and no folders of images."""
    folders = [root / name for name in folders_in(root)]
    return not any(p.is_dir() and p.name[0] != "." for f in folders for p in f.iterdir()) and any(map(_videos, folders))


def load(root: Path, frames: int | None = None) -> Dataset:
    """Reads a folder of videos, `frames` of each (if neither that nor a motions.json says how many: 21, or all of the
    shortest). Raises DimoError."""
    remarks: list[str] = []
    listed = read_motions(root) if (root / "motions.json").exists() else None
    names = [m.name for m in listed.motions] if listed else _motion_folders(root)
    videos = {name: _videos(inside(root, root / name)) for name in names}
    for name, found in videos.items():
        if not found:
            raise DimoError(
                f"The motion '{name}' is listed but {root / name} holds no videos <view>.mp4 (endings: "
                f"{VIDEO_ENDINGS})."
            )
    if (root / "cameras.json").exists():
        cameras = read_cameras(root)
        remarks += cameras.remarks
    else:
        cameras = CamerasFile(_ring(next(iter(videos.values()))))
        count = len(cameras.views)
        remarks.append(f"There is no cameras.json: {count} views at equal angles and elevation 0 are assumed.")
    views = cameras.views
    for motion, found in videos.items():
        if not any(view.name in found for view in views):
            raise DimoError(f"The videos in {root / motion} have none of the names of the views: {', '.join(found)}.")
    clips = {
        motion: {v.name: _header(found[v.name], v) for v in views if v.name in found}
        for motion, found in videos.items()
    }
    ends, problems = _ends(clips)
    count = listed.frames if listed else _count(clips, ends, frames, remarks)
    picked = {m: {v: clip.pick(count, ends[m]) for v, clip in found.items()} for m, found in clips.items()}
    meta = _described(root, count, listed, clips, picked)

    sources: dict[tuple[str, str, int], Source] = {}
    for motion, found in clips.items():
        for view in (v for v in views if v.name in found):
            clip, indices = found[view.name], picked[motion][view.name].tolist()
            size = clip.path.stat().st_size
            for i in meta.test_frames if view.split == "test" else range(count):
                sources[motion, view.name, i] = Source(clip.path, size, clip.has_alpha, video_frame=indices[i])
    missing = [f"{motion}/{v.name}" for motion, found in clips.items() for v in views if v.name not in found]
    unused = [
        f"{motion}/{p.name}" for motion, found in videos.items() for v, p in found.items() if v not in clips[motion]
    ]
    remarks.append(
        "Frames come out of videos, which is slow if they do not all fit in memory; convert such a set to images."
    )
    return finish(root, meta, views, sources, missing, [*problems, *passed_over(unused)], remarks, cameras.placement)


def _motion_folders(root: Path) -> list[str]:
    return [name for name in folders_in(root) if _videos(root / name)]


def _videos(folder: Path) -> dict[str, Path]:
    """View name -> video, sorted by name."""
    if not folder.is_dir():
        raise DimoError(f"The motion '{folder.name}' is listed but its folder {folder} is missing.")
    found: dict[str, Path] = {}
    for path in filter(is_video, sorted(folder.iterdir())):
        if path.stem in found:
            raise DimoError(f"{folder} has the view '{path.stem}' twice: {found[path.stem].name} and {path.name}.")
        found[path.stem] = inside(folder.parent, path)
    return found


def _ring(videos: Mapping[str, Path]) -> tuple[View, ...]:
    views = []
    for i, (name, path) in enumerate(videos.items()):
        header = video_header(path)
        if header.w != header.h or not header.square_pixels:
            kind = f"{header.w} x {header.h}" if header.square_pixels else "one of pixels that are not square"
            raise DimoError(f"The video {path} is {kind}; without a cameras.json it must be square.")
        views.append(orbit_view(name, "train", 360.0 * i / len(videos), 0.0, header.w))
    return tuple(views)


def _header(path: Path, view: View) -> VideoHeader:
    header = video_header(path)
    if (header.w, header.h) != (view.w, view.h):
        raise DimoError(
            f"The video {path} is {header.w} x {header.h}, but the camera of {view.name} says {view.w} x {view.h}."
        )
    return header


def _ends(clips: Clips) -> tuple[dict[str, float], list[str]]:
    """When the shortest video of each motion shows its last frame; and of which motions others go on much longer."""
    ends, problems = {}, []
    for motion, found in clips.items():
        shortest = min(found.values(), key=lambda clip: clip.times_s[-1])
        longest = max(found.values(), key=lambda clip: clip.times_s[-1])
        ends[motion] = float(shortest.times_s[-1])
        if longest.times_s[-1] > ends[motion] + 1.5 * longest.step_s:
            problems.append(
                f"The videos of '{motion}' last from {ends[motion]:.2f} s ({shortest.path.name}) to "
                f"{longest.times_s[-1]:.2f} s ({longest.path.name}); what lies after the shortest is not taken."
            )
    return ends, problems


def _count(clips: Clips, ends: Mapping[str, float], frames: int | None, remarks: list[str]) -> int:
    """How many frames to take where no motions.json says it."""
    if frames is not None:
        if not 0 < frames <= MAX_FRAMES:
            raise DimoError(f"{frames} frames are asked for; expected 1 to {MAX_FRAMES}.")
        remarks.append(f"There is no motions.json: {frames} frames are taken from each video.")
        return frames
    lengths = {clip.path: clip.until(ends[motion]) for motion, found in clips.items() for clip in found.values()}
    shortest = min(lengths, key=lambda path: lengths[path])
    count = min(DEFAULT_FRAMES, lengths[shortest])
    why = f", as many as {shortest} has" if count < DEFAULT_FRAMES else ""
    remarks.append(f"There is no motions.json: {count} frames are taken from each video{why}.")
    return count


def _described(
    root: Path,
    count: int,
    listed: MotionsFile | None,
    clips: Clips,
    picked: Mapping[str, Mapping[str, Int64[np.ndarray, " frames"]]],
) -> MotionsFile:
    """The motions, at the times that the videos say where motions.json does not."""
    times = {}
    for motion, found in clips.items():
        view, clip = next(iter(found.items()))
        times[motion] = tuple(clip.times_s[picked[motion][view]].tolist())
    if listed:
        motions = tuple(replace(m, times_s=times[m.name]) if m.name in listed.untimed else m for m in listed.motions)
        return replace(listed, motions=motions, fps=listed.fps or playback_rate(motions))
    motions = tuple(Motion(m, m.replace("_", " "), "train", False, times[m]) for m in clips)
    return MotionsFile(root.name, "", "", count, playback_rate(motions), tuple(range(count)), motions)
