"""The sample dataset: the creature in all its motions before all cameras, and the tracks of points on its skin."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dimo_ns.data import format
from dimo_ns.data.creature.anatomy import build, spread
from dimo_ns.data.creature.coat import shade
from dimo_ns.data.creature.motions import CLIPS, Clip
from dimo_ns.data.creature.raycast import RAYS, cast, first_hits
from dimo_ns.data.creature.skeleton import Creature, Parts, Pose, fit, place, surface
from dimo_ns.data.dataset import Dataset, Motion, View, orbit_view
from dimo_ns.errors import MOST_SEED, check_number

FRAMES = 21
TEST_FRAMES = tuple(range(0, FRAMES, 4))
TRACKS = 512
PROMPT = "a spotted turquoise cub with an orange scarf and a striped tail"
SEEN = 1 - 1e-6


def make(seed: int = 0) -> Creature:
    """The creature of that seed, placed so that it stays in the ball of radius 0.55 at the origin in all motions."""
    return fit(build(seed), [clip.pose(frame / FRAMES) for clip in CLIPS for frame in range(FRAMES)])


def cameras(size: int) -> list[View]:
    """Nine training views around the equator and four held-out ones between them, above and below."""
    train = [orbit_view(f"view_{k:02d}", "train", 40.0 * k, 0.0, size) for k in range(9)]
    held_out = ((20.0, 20.0), (100.0, -10.0), (220.0, 30.0), (300.0, 0.0))
    return train + [orbit_view(f"test_{k:02d}", "test", a, e, size) for k, (a, e) in enumerate(held_out)]


def photograph(creature: Creature, parts: Parts, view: View) -> np.ndarray:
    """uint8 RGBA [h,w,4], straight alpha."""
    wear = (creature.axes, creature.center, creature.kinds, creature.stretch, creature.coat)
    camera = (np.ascontiguousarray(view.c2w), view.fl_x, view.cx, view.cy)
    seen = cast(*parts, creature.solid, camera, view.w, view.h)
    return shade(*seen, *parts, creature.solid, creature.blends, wear, RAYS, view.w, view.h)


def track(creature: Creature, clips: Sequence[Clip], views: Sequence[View]) -> dict[str, np.ndarray]:
    """What tracks.npz holds: points spread over the skin that is seen at rest, followed exactly.

    tracks float32 [M,T,512,3] and canonical [512,3] (at rest) in world units, visible packed bits [M,V,T,64] with
    visible_shape, the names of motions and views, and the part [512] that each point is fixed to.
    """
    rest = place(creature, Pose())
    local = surface(creature.solid, 800)
    candidates = (rest.center[:, None] + local @ rest.axes.transpose(0, 2, 1)).reshape(-1, 3)
    part, local = np.repeat(np.arange(len(local)), local.shape[1]), local.reshape(-1, 3)
    eyes = [view.c2w[:3, 3].copy() for view in views]
    seen = [first_hits(candidates, eye, rest.inverse, rest.center, creature.solid) > SEEN for eye in eyes]
    chosen = np.flatnonzero(np.any(seen, axis=0))
    chosen = chosen[spread(candidates[chosen], TRACKS)]
    part, local = part[chosen], local[chosen]
    tracks = np.empty((len(clips), FRAMES, TRACKS, 3))
    visible = np.empty((len(clips), len(views), FRAMES, TRACKS), bool)
    for m, clip in enumerate(clips):
        for f in range(FRAMES):
            parts = place(creature, clip.pose(f / FRAMES))
            tracks[m, f] = parts.center[part] + np.einsum("nij,nj->ni", parts.axes[part], local)
            for v, eye in enumerate(eyes):
                visible[m, v, f] = first_hits(tracks[m, f], eye, parts.inverse, parts.center, creature.solid) > SEEN
    return {
        "tracks": tracks.astype(np.float32),
        "canonical": candidates[chosen].astype(np.float32),
        "visible": np.packbits(visible, axis=-1),
        "visible_shape": np.array(visible.shape),
        "motions": np.array([clip.name for clip in clips]),
        "views": np.array([view.name for view in views]),
        "part": part.astype(np.int32),
    }


def _photographs(
    creature: Creature, clips: Sequence[Clip], views: Sequence[View], progress: Callable[[int, int], None] | None
) -> Iterator[tuple[str, str, int, np.ndarray]]:
    """Every frame of the dataset in order, rendered a little ahead in all cores."""
    placed = {(c.name, f): place(creature, c.pose(f / FRAMES)) for c in clips for f in range(FRAMES)}
    jobs = [
        (clip.name, view, frame)
        for clip in clips
        for view in views
        for frame in (range(FRAMES) if view.split == "train" else TEST_FRAMES)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead, upcoming = deque(), iter(jobs)
        for done, (motion, view, frame) in enumerate(jobs):
            while len(ahead) < 64 and (job := next(upcoming, None)):
                ahead.append(pool.submit(photograph, creature, placed[job[0], job[2]], job[1]))
            yield motion, view.name, frame, ahead.popleft().result()
            if progress:
                progress(done + 1, len(jobs))


def write_sample(
    path: Path,
    seed: int = 0,
    size: int = 256,
    progress: Callable[[int, int], None] | None = None,
    clips: Sequence[Clip] = CLIPS,
) -> Dataset:
    """Makes the sample dataset at `path` and loads it: the same seed and size give the same bytes.

    `size` is the images' width and height in pixels; `progress` is told (frames done, frames in all). Raises DimoError
    for a seed or a size out of bounds, and where the folder exists already or cannot be written.
    """
    check_number("The seed", seed, 0, MOST_SEED)
    check_number("The size in pixels", size, 16, 2048)
    creature, views = make(seed), cameras(size)
    motions = [
        Motion(c.name, c.prompt, c.split, c.loop, tuple(round(f * c.duration_s / FRAMES, 5) for f in range(FRAMES)))
        for c in clips
    ]
    return format.write(
        path,
        object="cub",
        prompt=PROMPT,
        licence="CC0-1.0",
        views=views,
        motions=motions,
        frames=_photographs(creature, clips, views, progress),
        test_frames=TEST_FRAMES,
        tracks=track(creature, clips, views),
        source=f"dimo data sample, seed {seed}",
    )
