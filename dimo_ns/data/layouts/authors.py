"""The layout of the method's authors, read as it is: info.json, <motion>/view_XX/FF.png, optionally FF_mask.npy.

info.json: `azimuths_deg`, `elevations_deg` (positive = camera BELOW the object), `input_videos` (the motions). Cameras
are at distance 2 with fovy 33.9 degrees and look at the origin. Their world is y-up, (x, y, z) -> (z, x, y) takes it to
ours, so that azimuth 0 is on +x.
"""

import re
from pathlib import Path

from dimo_ns.data.dataset import Dataset, Motion, orbit_view
from dimo_ns.data.image_files import read_header
from dimo_ns.data.layouts.reading import MAX_FRAMES, PLAYBACK_FPS, MotionsFile, assemble, check_numbering, list_frames
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import Fields, check_unique, inside, is_finite, is_name, read_json


def load(root: Path) -> Dataset:
    """Reads a dataset in the authors' layout. Raises DimoError."""
    info = read_json(inside(root, root / "info.json"))
    azimuths = _angles(info, "azimuths_deg")
    elevations = _angles(info, "elevations_deg") if "elevations_deg" in info.values else [0.0] * len(azimuths)
    if len(elevations) != len(azimuths):
        raise info.error("elevations_deg", f"{len(azimuths)} angles, one per azimuth")
    names = info.values.get("input_videos")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and is_name(n) for n in names):
        raise info.error("input_videos", "a list of folder names, at least one")
    check_unique(names, f"{root / 'info.json'} names two motions")

    view_names = [f"view_{i:02d}" for i in range(len(azimuths))]
    listings = [list_frames(root, inside(root, root / m) / v).frames for m in names for v in view_names]
    numbers = {number for found in listings for number in found}
    if not numbers:
        raise DimoError(f"{root} has no images <motion>/view_00/00.png that its info.json speaks of.")
    check_numbering(root, numbers, range(len(numbers)), len(numbers))
    frames = 1 + max(numbers)
    if frames > MAX_FRAMES:
        raise DimoError(f"{root} has a frame of number {frames - 1}; at most {MAX_FRAMES} frames are read.")
    views = []
    for i, name in enumerate(view_names):
        size = _size(root, name, [found for found in listings[i :: len(view_names)] if found])
        views.append(orbit_view(name, "train", azimuths[i], -elevations[i], size))
    times = tuple(f / PLAYBACK_FPS for f in range(frames))
    motions = tuple(Motion(n, re.sub(r"[_-]+", " ", n), "train", False, times) for n in names)
    described = MotionsFile(root.name, "", "", frames, PLAYBACK_FPS, tuple(range(frames)), motions)
    return assemble(root, described, views, ["Read in the authors' layout: cameras at distance 2, fovy 33.9 degrees."])


def _angles(info: Fields, key: str) -> list[float]:
    values = info.values.get(key)
    if not isinstance(values, list) or not values or not all(map(is_finite, values)):
        raise info.error(key, "a list of angles in degrees, at least one")
    return [float(v) for v in values]


def _size(root: Path, view: str, listings: list[dict[int, Path]]) -> int:
    if not listings:
        raise DimoError(f"{root} has no image of {view} in any motion, but its info.json has a camera for it.")
    header = read_header(next(iter(listings[0].values())))
    if header.w != header.h:
        raise DimoError(f"The images of {view} in {root} are {header.w} x {header.h}; this layout needs square ones.")
    return header.w
