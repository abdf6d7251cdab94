"""Small datasets of the sample animal before many kinds of cameras, right ones and ones with one fault each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from dimo_ns.data.creature.motions import CLIPS
from dimo_ns.data.creature.skeleton import place
from dimo_ns.data.creature.write import make, photograph
from dimo_ns.data.dataset import Dataset, Motion, View, orbit_view
from dimo_ns.data.format import write
from dimo_ns.data.poses import OPENCV, rolled

FRAMES, SIZE = 2, 64
Pictures = dict[tuple[str, int], np.ndarray]


def ring(
    count: int = 6, elevation: float = 0.0, size: int = SIZE, span: float = 360.0, start: float = 0.0
) -> list[View]:
    """Cameras at equal angles around the object."""
    return [orbit_view(f"view_{i:02d}", "train", start + span * i / count, elevation, size) for i in range(count)]


def seesaw(count: int = 6, size: int = SIZE) -> list[View]:
    """A ring whose cameras are above and below by turns."""
    return [orbit_view(f"view_{i:02d}", "train", 360 * i / count, (25, -10, 5)[i % 3], size) for i in range(count)]


@dataclass(frozen=True)
class PosedSet:
    """Pictures that true cameras took, and what is written of both."""

    true: list[View]
    cameras: Callable[[list[View]], list[View]] = lambda views: views
    """What is written of them."""
    pictures: Callable[[Pictures], Pictures] = lambda pictures: pictures
    said: str = ""
    """A part of what is to be said of it."""
    motion: str = "walk"
    seed: int = 0

    def write(self, root: Path) -> Dataset:
        pictures = self.pictures(photographed(tuple(map(Held, self.true)), self.motion, self.seed))
        sizes = {view: picture.shape[:2] for (view, _), picture in pictures.items()}
        views = [replace(v, h=sizes[v.name][0], w=sizes[v.name][1]) for v in self.cameras(self.true)]
        return write(
            root,
            object="cub",
            prompt="",
            licence="",
            views=views,
            motions=[Motion(self.motion, "", "train", False, tuple(map(float, range(FRAMES))))],
            frames=((self.motion, view, f, rgba) for (view, f), rgba in pictures.items()),
        )


class Held:
    """A view that is found again in a cache."""

    def __init__(self, view: View):
        self.view = view
        self.key = (view.name, view.w, view.h, view.fl_x, view.cx, view.cy, view.c2w.tobytes())

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and self.key == other.key


@cache
def animal(seed: int):
    return make(seed)


@cache
def photographed(views: tuple[Held, ...], motion: str, seed: int) -> Pictures:
    """What these cameras see of the animal."""
    clip = next(clip for clip in CLIPS if clip.name == motion)
    poses = [place(animal(seed), clip.pose(0.35 + 0.3 * f)) for f in range(FRAMES)]
    return {(h.view.name, f): photograph(animal(seed), pose, h.view) for h in views for f, pose in enumerate(poses)}


def posed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[list[View]], list[View]]:
    """Every camera's `c2w` is written otherwise."""
    return lambda views: [replace(view, c2w=change(view.c2w)) for view in views]


def shifted(x: float, y: float, z: float, scale: float = 1.0) -> Callable[[list[View]], list[View]]:
    """The world is larger, and the object elsewhere in it."""
    return lambda views: [v.moved(scale * v.c2w[:3, 3] + [x, y, z]) for v in views]


def given(**values: float) -> Callable[[list[View]], list[View]]:
    """Intrinsics are written otherwise."""
    return lambda views: [replace(view, **values) for view in views]


def scaled(scale: float) -> Callable[[list[View]], list[View]]:
    """Intrinsics are those of pictures of another size."""
    return lambda views: [
        replace(v, fl_x=scale * v.fl_x, fl_y=scale * v.fl_y, cx=scale * v.cx, cy=scale * v.cy) for v in views
    ]


def only(
    chosen: Callable[[int], bool], change: Callable[[list[View]], list[View]]
) -> Callable[[list[View]], list[View]]:
    """Some cameras are written otherwise."""
    return lambda views: [change([v])[0] if chosen(i) else v for i, v in enumerate(views)]


def at(number: int) -> Callable[[int], bool]:
    return lambda i: i == number


def taken_from(order: Callable[[int, int], int]) -> Callable[[list[View]], list[View]]:
    """Each view has the pose of another."""
    return lambda views: [replace(v, c2w=views[order(i, len(views))].c2w) for i, v in enumerate(views)]


def around(change: Callable[[float, float], tuple[float, float]]) -> Callable[[list[View]], list[View]]:
    """Other angles are written than the cameras had."""

    def cameras(views: list[View]) -> list[View]:
        angles = [change(v.azimuth_deg or 0.0, v.elevation_deg or 0.0) for v in views]
        return [orbit_view(v.name, v.split, *pair, v.w) for v, pair in zip(views, angles, strict=True)]

    return cameras


def pictured(change: Callable[[np.ndarray], np.ndarray], views: str = "") -> Callable[[Pictures], Pictures]:
    """Pictures, of one view or of all, are other ones."""
    return lambda pictures: {key: change(p) if views in key[0] else p for key, p in pictures.items()}


def rolled_by(pixels: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rgba: np.roll(rgba, pixels, axis=1)


def zoomed(rgba: np.ndarray) -> np.ndarray:
    """The middle of the picture, enlarged by a half."""
    h, w = rgba.shape[:2]
    y, x = ((np.arange(n) + 0.5 - n / 2) / 1.5 + n / 2 for n in (h, w))
    return rgba[y.astype(int)][:, x.astype(int)]


def inverted(rgba: np.ndarray) -> np.ndarray:
    return np.concatenate([rgba[..., :3], 255 - rgba[..., 3:]], -1)


def uncut(rgba: np.ndarray) -> np.ndarray:
    return np.concatenate([rgba[..., :3], np.full_like(rgba[..., 3:], 254)], -1)


def opencv(pose: np.ndarray) -> np.ndarray:
    return pose @ OPENCV


def transposed(pose: np.ndarray) -> np.ndarray:
    turned = pose.copy()
    turned[:3, :3] = pose[:3, :3].T
    return turned


Y_UP = np.array([[0, 1.0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def wrong() -> dict[str, PosedSet]:
    """Forty that are wrong in one way each."""
    equator, waves = ring(), seesaw()
    convention, place_, scale = "the poses are", '"object": {"centre"', "radius of"
    turned_over = "azimuths that count the other way round"
    single = "does not fit the other views"
    sets = {
        "opencv": PosedSet(equator, posed(opencv), said=f"{convention} OpenCV camera-to-world"),
        "opencv, above and below": PosedSet(waves, posed(opencv), said=f"{convention} OpenCV camera-to-world"),
        "opencv, two views": PosedSet(ring(2, span=120), posed(opencv), said=f"{convention} OpenCV camera-to-world"),
        "opencv, one view": PosedSet(ring(1), posed(opencv), said=f"{convention} OpenCV camera-to-world"),
        "w2c": PosedSet(equator, posed(np.linalg.inv), said=f"{convention} OpenGL world-to-camera"),
        "w2c, above and below": PosedSet(waves, posed(np.linalg.inv), said=f"{convention} OpenGL world-to-camera"),
        "opencv w2c": PosedSet(
            equator, posed(lambda p: np.linalg.inv(opencv(p))), said=f"{convention} OpenCV world-to-camera"
        ),
        "opencv w2c, above and below": PosedSet(
            waves, posed(lambda p: np.linalg.inv(opencv(p))), said=f"{convention} OpenCV world-to-camera"
        ),
        "rotation transposed": PosedSet(waves, posed(transposed), said="transposed"),
        "off by 3": PosedSet(equator, shifted(3, 0, 0), said=place_),
        "off by 1, up": PosedSet(waves, shifted(0, 0, 1), said=place_),
        "off by 0.4": PosedSet(equator, shifted(0.4, 0, 0), said=place_),
        "twice as large": PosedSet(equator, shifted(0, 0, 0, 2), said=place_),
        "four times, three views": PosedSet(ring(3), shifted(0, 0, 0, 4), said=place_),
        "in millimetres": PosedSet(waves, shifted(0, 0, 0, 1000), said=place_),
        "half as large": PosedSet(waves, shifted(0, 0, 0, 0.5), said="coarse"),
        "tiny": PosedSet(equator, shifted(0, 0, 0, 0.1), said="too small"),
        "large and elsewhere": PosedSet(waves, shifted(5, -7, 2, 3), said=place_),
        "azimuths the other way round": PosedSet(equator, around(lambda a, e: (-a, e)), said=turned_over),
        "pictures mirrored": PosedSet(waves, pictures=pictured(lambda p: p[:, ::-1]), said=turned_over),
        "elevations of the other sign": PosedSet(
            waves, around(lambda a, e: (a, -e)), said="elevations of the other sign"
        ),
        "upside down": PosedSet(waves, pictures=pictured(lambda p: p[::-1, ::-1]), said="upside down"),
        "on their side": PosedSet(equator, pictures=pictured(lambda p: np.rot90(p)), said="turned by 90 degrees"),
        "y is up": PosedSet(waves, posed(lambda p: Y_UP @ p), said="+y is up"),
        "azimuths in radians": PosedSet(equator, around(lambda a, e: (np.radians(a), e)), said="not fit together"),
        "halves of azimuths": PosedSet(equator, around(lambda a, e: (a / 2, e)), said="not fit"),
        "poses in another order": PosedSet(waves, taken_from(lambda i, n: (i * 5 + 2) % n), said="not fit"),
        "all poses the same": PosedSet(equator, taken_from(lambda i, n: 0), said="in one place"),
        "one pose twice": PosedSet(waves, taken_from(lambda i, n: min(i, n - 2)), said="in one place"),
        "two poses exchanged": PosedSet(
            ring(8, 10), taken_from(lambda i, n: {1: 4, 4: 1}.get(i, i)), said="view_01 and view_04 do not fit"
        ),
        "one camera turned": PosedSet(ring(8), only(at(3), around(lambda a, e: (a + 25, e))), said=f"view_03 {single}"),
        "one view mirrored": PosedSet(
            ring(8), pictures=pictured(lambda p: p[:, ::-1], "view_05"), said=f"view_05 {single}"
        ),
        "one view zoomed": PosedSet(ring(8), pictures=pictured(zoomed, "view_02"), said=f"view_02 {single}"),
        "one view cropped elsewhere": PosedSet(
            ring(8), pictures=pictured(rolled_by(9), "view_06"), said=f"view_06 {single}"
        ),
        "principal point at the corner": PosedSet(equator, given(cx=0.0, cy=0.0), said="'cx' and 'cy' in the middle"),
        "intrinsics of twice the size": PosedSet(equator, scaled(2), said="of another"),
        "focal length in millimetres": PosedSet(
            equator, given(fl_x=5.0, fl_y=5.0), said="degrees by 'fl_x' and 'fl_y', which are pixels"
        ),
        "focal length halved": PosedSet(equator, given(fl_x=52.0, fl_y=52.0), said=scale),
        "masks inverted": PosedSet(equator, pictures=pictured(inverted), said="four corners"),
        "nothing cut out": PosedSet(waves, pictures=pictured(uncut), said="four corners"),
    }
    assert len(sets) == 40
    return sets


def right() -> dict[str, PosedSet]:
    """Twenty of which nothing is to be said."""
    wide = [replace(v, w=96, cx=48.0) for v in ring()]
    near = [replace(v.moved(0.75 * v.c2w[:3, 3]), fl_x=0.7 * v.fl_x, fl_y=0.7 * v.fl_y) for v in ring()]
    far = [replace(v.moved(6 * v.c2w[:3, 3]), fl_x=6 * v.fl_x, fl_y=6 * v.fl_y) for v in seesaw()]
    beside = [replace(v, cx=v.cx + 4, cy=v.cy - 3) for v in seesaw()]
    several = [orbit_view(v.name, "train", v.azimuth_deg or 0, 0, (48, 64, 80)[i % 3]) for i, v in enumerate(ring())]
    rolling = [replace(v, c2w=v.c2w @ rolled(20 * i)) for i, v in enumerate(seesaw())]
    above = [orbit_view(f"view_{i:02d}", "train", 90 * i, 60, SIZE) for i in range(4)]
    above.append(orbit_view("view_04", "train", 0, 89, SIZE))
    tested = [replace(v, split="test" if i % 2 else "train") for i, v in enumerate(seesaw(8))]
    white = pictured(lambda p: np.dstack([p[..., :3], np.where(p[..., 3:] > 200, 255, p[..., 3:])]))
    rough = pictured(lambda p: np.dstack([p[..., :3], np.where(p[..., 3:] > 127, 255, 0).astype(np.uint8)]))
    sets = {
        "ring": PosedSet(ring()),
        "ring of nine": PosedSet(ring(9)),
        "ring of twelve": PosedSet(ring(12, 15)),
        "above and below": PosedSet(seesaw()),
        "one view": PosedSet(ring(1)),
        "two views": PosedSet(ring(2, span=180)),
        "opposite views": PosedSet(ring(2)),
        "three views": PosedSet(ring(3)),
        "four views": PosedSet(ring(4)),
        "an arc": PosedSet(ring(5, 5, span=100)),
        "starting elsewhere": PosedSet(ring(6, -15, start=33)),
        "from above": PosedSet(above),
        "wide pictures": PosedSet(wide),
        "near": PosedSet(near),
        "far": PosedSet(far),
        "principal point aside": PosedSet(beside),
        "several sizes": PosedSet(several),
        "rolled cameras": PosedSet(rolling),
        "test views": PosedSet(tested, motion="jump", pictures=white),
        "hard masks": PosedSet(ring(8, 12), pictures=rough, seed=3),
    }
    assert len(sets) == 20
    return sets
