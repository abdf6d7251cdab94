"""What a dataset is, whatever its layout on disk: views, motions, and where each frame lies."""

import hashlib
import json
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from lzma import LZMAError
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from dimo_ns.core.cameras import DISTANCE, FOVY_DEG, Cameras, focal, intrinsics, viewmats_from_c2w
from dimo_ns.core.types import FAR
from dimo_ns.data.images import Source
from dimo_ns.data.placement import AT_HOME, Placement
from dimo_ns.data.video_files import MAX_VIDEO_BYTES
from dimo_ns.errors import DimoError
from dimo_ns.files.opening import regular

MAX_TRACK_BYTES = 2**31
BLOCK = 2**14
UNREADABLE = (
    OSError, ValueError, EOFError, RuntimeError, OverflowError, MemoryError, zipfile.BadZipFile, zlib.error, LZMAError,
)  # fmt: skip
"""What comes of an archive of arrays that is damaged, encrypted, or lies about its sizes."""


@dataclass(frozen=True, eq=False)
class View:
    """A camera of the dataset: intrinsics in pixels, pose OpenGL camera-to-world."""

    name: str
    split: str
    """"train" or "test"."""
    w: int
    h: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    c2w: Float64[np.ndarray, "4 4"]
    azimuth_deg: float | None = None
    elevation_deg: float | None = None
    trust: float = 1.0
    """How far its pictures are to be believed, in (0, 1], next to those of the other views."""

    def moved(self, place: Float64[np.ndarray, " 3"]) -> "View":
        """The same camera at another place."""
        c2w = self.c2w.copy()
        c2w[:3, 3] = place
        return replace(self, c2w=c2w)

    def to_json(self) -> dict[str, Any]:
        """Its fields as JSON has them; `trust` where it is not full."""
        values = {field.name: getattr(self, field.name) for field in fields(self)} | {"c2w": self.c2w.tolist()}
        return values if self.trust != 1.0 else {k: v for k, v in values.items() if k != "trust"}


@dataclass(frozen=True)
class Motion:
    """A motion of the object."""

    name: str
    prompt: str
    split: str
    """"train" or "held_out"."""
    loop: bool
    times_s: tuple[float, ...]
    """When each frame was taken, in seconds; one number per frame."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything about a dataset but its pixels."""

    root: Path
    object: str
    prompt: str
    licence: str
    frames: int
    """T, the frames of every motion."""
    fps: float
    """For playing it back; `Motion.times_s` has the true times."""
    views: tuple[View, ...]
    motions: tuple[Motion, ...]
    sources: dict[tuple[str, str, int], Source]
    """(motion, view, frame) -> where that frame is; frames that are missing are not in it."""
    tracks: Path | None
    test_frames: tuple[int, ...]
    """The frames that test views have."""
    problems: tuple[str, ...]
    """What is wrong with it but does not stop a training, one sentence each: frames that are missing, for instance."""
    remarks: tuple[str, ...]
    """What was assumed, one sentence each."""
    placement: Placement = AT_HOME
    """Where the object was, in the world that the cameras had on disk."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Dataset":
        """Itself: it does not change, and nerfstudio copies what it is handed, thousands of sources each time."""
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should be told about it: problems, then remarks."""
        return (*self.problems, *self.remarks)

    @property
    def times(self) -> Float64[np.ndarray, " frames"]:
        """The time of each frame as the model takes it, f/T in [0, 1)."""
        return np.arange(self.frames) / self.frames

    @property
    def train_motions(self) -> tuple[Motion, ...]:
        """The motions that are trained on."""
        return tuple(m for m in self.motions if m.split == "train")

    @property
    def held_out_motions(self) -> tuple[Motion, ...]:
        """The motions that are kept for evaluation."""
        return tuple(m for m in self.motions if m.split == "held_out")

    @property
    def train_views(self) -> tuple[View, ...]:
        """The views that are trained on."""
        return tuple(v for v in self.views if v.split == "train")

    @property
    def test_views(self) -> tuple[View, ...]:
        """The views that are kept for evaluation."""
        return tuple(v for v in self.views if v.split == "test")

    def expected_frames(self, view: View) -> tuple[int, ...]:
        """The frames that a complete dataset has in this view."""
        return self.test_frames if view.split == "test" else tuple(range(self.frames))

    def read_tracks(self) -> dict[str, np.ndarray]:
        """The arrays of tracks.npz, `tracks` float [M, T, points, 3] among them; none without it. Raises DimoError."""
        if self.tracks is None:
            return {}
        try:
            with zipfile.ZipFile(regular(self.tracks, MAX_TRACK_BYTES)) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_TRACK_BYTES:
                raise DimoError(f"The ground truth {self.tracks} unpacks to more than {MAX_TRACK_BYTES:,} bytes.")
            with np.load(self.tracks, allow_pickle=False) as arrays:
                content = {name: arrays[name] for name in arrays.files}
        except UNREADABLE as error:
            raise DimoError(f"The ground truth {self.tracks} cannot be read ({error}); make it again.") from error
        tracks = content.get("tracks", np.zeros(0))
        expected = (len(self.motions), self.frames)
        if tracks.dtype.kind != "f" or tracks.ndim != 4 or tracks.shape[:2] != expected or tracks.shape[3] != 3:
            got = f"{tracks.dtype}{list(tracks.shape)}"
            raise DimoError(f"The 'tracks' in {self.tracks} are {got}; expected float{[*expected, 'points', 3]}.")
        points = content.get("canonical", tracks[0, 0])
        if points.dtype.kind != "f" or points.shape != tracks.shape[2:]:
            got = f"{points.dtype}{list(points.shape)}"
            raise DimoError(f"The 'canonical' in {self.tracks} are {got}; expected float{list(tracks.shape[2:])}.")
        for name, array in (("tracks", tracks), ("canonical", points)):
            if not (np.abs(array) < FAR).all():
                raise DimoError(f"The '{name}' in {self.tracks} have numbers that are not finite, or beyond {FAR:g}.")
        if self.placement != AT_HOME:
            content |= {n: self.placement.place(content[n]) for n in ("tracks", "canonical") if n in content}
        return content

    def placed(self, placement: Placement) -> "Dataset":
        """The dataset with the ball that was found around the object brought to the origin and to the usual radius."""
        views = tuple(v.moved(placement.place(v.c2w[:3, 3])) for v in self.views)
        return replace(self, views=views, placement=placement.within(self.placement))

    @cached_property
    def hash(self) -> str:
        """sha256 over the metadata as read, the names of the frames, and what is in their files (`sampled`)."""
        views = [v.to_json() for v in self.views]
        head = [self.object, self.prompt, self.licence, self.frames, self.fps, views, [asdict(m) for m in self.motions]]
        files = {path for s in self.sources.values() for path in (s.path, s.mask) if path is not None}
        content = {path: sampled(path) for path in files}
        rows = [
            [*key, str(s.path.relative_to(self.root)), content[s.path], s.mask and content[s.mask], s.video_frame]
            for key, s in sorted(self.sources.items())
        ]
        return hashlib.sha256(json.dumps([head, rows], sort_keys=True).encode()).hexdigest()


def playback_rate(motions: Sequence[Motion]) -> float | None:
    """Frames per second at which the motions play, on the whole, as fast as they were, to five digits; None where
    nothing moves."""
    seconds = sum(m.times_s[-1] - m.times_s[0] for m in motions)
    frames = sum(len(m.times_s) - 1 for m in motions)
    return float(f"{frames / seconds:.5g}") if seconds > 0 else None  # stamps are in whole parts of a second


def sampled(path: Path) -> str:
    """sha256 of a file: of its size and content; of one larger than four blocks, its first, middle and last one. Raises
    DimoError as `regular`."""
    size = regular(path, MAX_VIDEO_BYTES).stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= 4 * BLOCK:
            digest.update(file.read(4 * BLOCK))
        else:
            for start in (0, (size - BLOCK) // 2, size - BLOCK):
                file.seek(start)
                digest.update(file.read(BLOCK))
    return digest.hexdigest()


def cameras_of(views: Sequence[View], size: tuple[int, int] | None = None) -> Cameras:
    """The cameras of these views, [v], for images of their size or of another (h, w) that shows the same.

    Computed in float64 and rounded to float32 at the end. Raises DimoError if the views differ in size and none is
    given, and if there are none.
    """
    sizes = {(v.h, v.w) for v in views} if size is None else {size}
    if len(sizes) != 1 or not views:
        have = " and ".join(sorted(f"{w} x {h}" for h, w in sizes)) or "none"
        raise DimoError(f"Views with images of one size were expected, and these have {have}; choose views that agree.")
    h, w = sizes.pop()
    sx, sy = np.array([[w / v.w, h / v.h] for v in views]).T
    lengths_and_centres = np.array([[v.fl_x, v.fl_y, v.cx, v.cy] for v in views]).T * np.stack([sx, sy, sx, sy])
    Ks = intrinsics(*torch.from_numpy(lengths_and_centres))
    viewmats = viewmats_from_c2w(torch.from_numpy(np.stack([v.c2w for v in views])))
    return Cameras(viewmats.float(), Ks.float(), (h, w))


def orbit_view(name: str, split: str, azimuth_deg: float, elevation_deg: float, size: int) -> View:
    """The method's camera: square, fovy 33.9 degrees, at distance 2, looking at the origin.

    Azimuth counter-clockwise seen from above with 0 on +x, elevation positive above; image of `size` x `size` pixels.
    """
    # core.cameras.orbit_c2w, in torch, rounds otherwise in the last place, on which the hashes of datasets depend
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    back = np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
    right = np.array([-math.sin(a), math.cos(a), 0.0])
    c2w = np.eye(4)
    c2w[:3] = np.stack([right, np.cross(back, right), back, DISTANCE * back], axis=1)
    length = focal(FOVY_DEG, size)
    return View(
        name, split, size, size, length, length, size / 2, size / 2, c2w, float(azimuth_deg), float(elevation_deg)
    )
