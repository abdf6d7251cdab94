"""The dataset of a generation, from its clips and views."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dimo_ns.data.dataset import Motion, orbit_view, playback_rate
from dimo_ns.data.format import write
from dimo_ns.data.layouts.reading import PLAYBACK_FPS
from dimo_ns.errors import DimoError
from dimo_ns.generate.framing import Box, cut, square_around
from dimo_ns.generate.items import digest
from dimo_ns.generate.makers import Progress
from dimo_ns.generate.matting import plain
from dimo_ns.generate.prompts import MotionPrompt
from dimo_ns.generate.tries import Tries, Try
from dimo_ns.generate.view_chunks import ViewChunks


def assemble(
    out: Path,
    name: str,
    prompt: str,
    kept: Mapping[MotionPrompt, Try],
    tries: Tries,
    views: ViewChunks | None,
    progress: Progress,
) -> None:
    """Writes the dataset of the clips that are kept and their views. Raises DimoError."""
    azimuths = views.maker.azimuths_deg if views else (0.0,)
    size, matting = tries.settings.size, tries.settings.matting
    # The views come over white; what follows an object through a video is not needed for them.
    view_matting = plain if matting.startswith("sam2") else tries.matting
    cameras = [orbit_view(f"view_{i:02d}", "train", azimuth, 0.0, size) for i, azimuth in enumerate(azimuths)]
    boxes = [clip.box for clip in kept.values() if clip.box]
    common = square_around(around(boxes)) if tries.videos.begins_with_one_picture else None

    def frames() -> Iterator[tuple[str, str, int, np.ndarray]]:
        for done, (motion, clip) in enumerate(kept.items()):
            progress.item("dataset", motion.name, done, len(kept))
            seen = [tries.pictures(clip)]
            if views:
                seen += [view_matting(view) for view in views.views(clip)]
            for camera, azimuth, rgba in zip(cameras, azimuths, seen, strict=True):
                if common and clip.box:
                    rgba = cut(rgba, in_common(square_around(clip.box), common, azimuth - azimuths[0], size), size)
                yield from ((motion.name, camera.name, i, frame) for i, frame in enumerate(rgba))

    motions = [Motion(m.name, m.label, "train", False, clip.times_s) for m, clip in kept.items()]
    write(
        out, object=name, prompt=prompt, licence="", views=cameras, motions=motions, frames=frames(),
        fps=playback_rate(motions) or PLAYBACK_FPS, source=mark(content_key(kept, views)),
    )  # fmt: skip


def content_key(kept: Mapping[MotionPrompt, Try], views: ViewChunks | None) -> str:
    """What the content of a dataset depends on, as a digest."""
    items = [[clip.item, *(views.of(clip) if views else [])] for clip in kept.values()]
    return digest([[item.key for item in group] for group in items])


def mark(key: str = "") -> str:
    """What motions.json says where a dataset is from."""
    return f"dimo generate {key}"


def check_same(out: Path, key: str) -> None:
    """Raises DimoError if another dataset is there."""
    path = out / "motions.json"
    source = json.loads(path.read_text()).get("source") if path.is_file() else None
    if source != mark(key):
        raise DimoError(
            f"{out} is there already and has another content; move it away or choose another output (what was "
            "computed is kept beside it and used again)."
        )


def around(boxes: list[Box]) -> Box:
    """The box around all of these."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def in_common(square: Box, common: Box, azimuth_deg: float, size: int) -> Box:
    """The square to cut out of a view's framed picture so that all motions show the object at one scale, and at the
    place where their videos do: as if `common`, not `square`, had been cut out of the video. (Every clip is framed by
    itself, so the object is larger in some than in others.) Seen from another azimuth, sideways shifts shrink by its
    cosine; what comes nearer or goes farther is left out of account."""
    scale = (square[2] - square[0]) / size
    side = (common[2] - common[0]) / scale
    x = ((common[0] + common[2]) - (square[0] + square[2])) / 2 / scale * math.cos(math.radians(azimuth_deg))
    y = ((common[1] + common[3]) - (square[1] + square[3])) / 2 / scale
    left, top = round(size / 2 + x - side / 2), round(size / 2 + y - side / 2)
    return left, top, left + round(side), top + round(side)
