"""Whether cameras can be right, before anything is trained: silhouettes that no shape has together, poses of another
convention, an object that is not where it is looked for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float64

from dimo_ns.core.cameras import EXTENT, RADIUS
from dimo_ns.data.dataset import Dataset, View
from dimo_ns.data.placement import Placement
from dimo_ns.data.samples import Moment, Samples, choose_moments, read_samples
from dimo_ns.data.silhouettes import SOLID, Fit, Masks, Rig, fit
from dimo_ns.errors import DimoError

MOMENTS, STRIDE = 8, 3
"""How many frames cameras are judged by, and which of their pixels: one in three."""
FEW, COARSE = 3, 11
"""The same for other cameras that are tried."""
WRONG, HOPELESS = 0.08, 0.5
"""Shares of the silhouettes outside of their common hull: other cameras are tried, and nothing can be trained."""
APART = 0.012
"""Part of a picture's side by which outlines are off on the mean: cameras are doubted even if no others fit better.
Views of video models are at 0.004."""
MOST_ODD = 2
"""Views that are named because all others fit together: two may have been exchanged."""
BETTER = 0.3
"""Other cameras are named if they leave at most this part of it."""
REACH, SMALL, TINY = 1.1 * EXTENT, 0.3, 0.1
"""How far from the origin the object may reach; radii below which it is coarse, and not found."""
WIDE_DEG = 120.0
"""No lens without distortion has a wider field of view."""

View4 = Callable[[View], View]


@dataclass(frozen=True)
class Verdict:
    """What is said of the cameras, one sentence each."""

    fatal: tuple[str, ...] = ()
    """What a training would fail by, or end in something else than the object."""
    problems: tuple[str, ...] = ()
    placement: Placement | None = None
    """The ball around the object, if it is not where it should be."""


def _poses(change: Callable[[np.ndarray], np.ndarray]) -> View4:
    return lambda view: replace(view, c2w=change(view.c2w))


def _diagonal(*signs: float) -> np.ndarray:
    return np.diag([*signs, 1.0])


def rolled(degrees: float) -> Float64[np.ndarray, "4 4"]:
    """A camera turned around the axis that it looks along."""
    turn, (c, s) = np.eye(4), (np.cos(np.radians(degrees)), np.sin(np.radians(degrees)))
    turn[:2, :2] = [[c, -s], [s, c]]
    return turn


OPENCV = _diagonal(1, -1, -1)
CONVENTIONS: dict[str, View4] = {
    "opengl-c2w": lambda view: view,
    "opencv-c2w": _poses(lambda pose: pose @ OPENCV),
    "opengl-w2c": _poses(np.linalg.inv),
    "opencv-w2c": _poses(lambda pose: np.linalg.inv(pose) @ OPENCV),
}
"""What `c2w` may hold in place of OpenGL camera-to-world, and how that comes of it."""


def _other_cameras() -> Iterator[tuple[str, View4]]:
    """What else cameras may be wrong by, all in the same way."""

    def mirrored(world: np.ndarray, camera: np.ndarray) -> View4:
        return _poses(lambda pose: world @ pose @ camera)

    yield (
        "with azimuths that count the other way round (or pictures that are mirrored)",
        mirrored(_diagonal(1, -1, 1), _diagonal(-1, 1, 1)),
    )
    yield "with elevations of the other sign", mirrored(_diagonal(1, 1, -1), _diagonal(1, -1, 1))
    yield "with pictures turned upside down", _poses(lambda pose: pose @ rolled(180))
    yield "with pictures turned by 90 degrees, clockwise", _poses(lambda pose: pose @ rolled(90))
    yield "with pictures turned by 90 degrees, counter-clockwise", _poses(lambda pose: pose @ rolled(-90))
    yield "with the rotations of 'c2w' transposed", _poses(_transposed)
    yield "with 'cx' and 'cy' in the middle of the pictures", lambda view: replace(view, cx=view.w / 2, cy=view.h / 2)
    yield "with intrinsics for pictures of their size ('fl_x fl_y cx cy' are of another)", _rescaled


def _transposed(pose: np.ndarray) -> np.ndarray:
    turned = pose.copy()
    turned[:3, :3] = pose[:3, :3].T
    return turned


def _rescaled(view: View) -> View:
    x, y = view.w / 2 / view.cx if view.cx else 1.0, view.h / 2 / view.cy if view.cy else 1.0
    return replace(view, fl_x=view.fl_x * x, fl_y=view.fl_y * y, cx=view.w / 2, cy=view.h / 2)


def check_cameras(dataset: Dataset) -> Verdict:
    """Reads a few frames and judges by them; about a second. Raises DimoError for a frame that cannot be decoded."""
    return judge(read_samples(dataset, choose_moments(dataset, MOMENTS)))


def judge(samples: Samples) -> Verdict:
    """What is wrong with the cameras of a dataset by pictures of it."""
    dataset, views = samples.dataset, samples.dataset.views
    stacks = [samples.masks(moment) for moment in _thinned(samples.moments)]
    stacks = [masks for masks in stacks if masks.max(initial=0) >= SOLID]
    if not stacks:
        return Verdict()
    if (fault := _not_cut_out(samples.rig, stacks)) is not None:
        return Verdict(fatal=(fault,))
    lenses, problems = _lens_problems(views), _same_places(views)
    found = fitted(samples.rig, stacks)
    if lenses and found.misfit > WRONG:
        return Verdict(tuple(lenses), tuple(problems))
    problems += lenses
    if found.misfit > WRONG:
        fatal, doubts = _doubt(dataset, samples.rig, stacks, found)
        problems += doubts
        if fatal or found.misfit > HOPELESS:
            return Verdict(tuple(fatal), tuple(problems))
    elif (odd := _odd_views(views, samples.rig, stacks, found)) is not None:
        problems.append(odd)
    fatal, doubts, placement = _place(dataset, found)
    return Verdict(tuple(fatal), (*problems, *doubts, *_lying(views)), placement)


def fitted(rig: Rig, stacks: Sequence[Masks], stride: int = STRIDE) -> Fit:
    """How the silhouettes of several frames fit together."""
    first, *others = (fit(rig, masks, stride=stride) for masks in stacks)
    return sum(others, first)


def _thinned(moments: list[Moment]) -> list[Moment]:
    return moments[:: max(1, len(moments) // MOMENTS)][:MOMENTS]


def _not_cut_out(rig: Rig, stacks: Sequence[Masks]) -> str | None:
    """Said of masks that cover all corners of their pictures, as none does that shows a whole object."""
    corners = [
        all(mask[y, x] >= SOLID for y in (0, h - 1) for x in (0, w - 1))
        for masks in stacks
        for mask, (h, w) in zip(masks, rig.sizes, strict=True)
        if mask.max(initial=0) >= SOLID
    ]
    if np.mean(corners) < 0.5:
        return None
    return (
        f"The masks cover all four corners in {sum(corners)} of {len(corners)} pictures that were looked at: alpha is "
        "to be 255 on the object and 0 on the background; exchange the two, or cut the object out."
    )


def _lens_problems(views: Sequence[View]) -> list[str]:
    fields = {v.name: float(np.degrees(2 * np.arctan(max(v.w / v.fl_x, v.h / v.fl_y) / 2))) for v in views}
    wide = {name: field for name, field in fields.items() if field > WIDE_DEG}
    if not wide:
        return []
    name, field = next(iter(wide.items()))
    return [f"The field of view of {name}{_more(wide)} is {field:.0f} degrees by 'fl_x' and 'fl_y', which are pixels."]


def _same_places(views: Sequence[View]) -> list[str]:
    same = [(a.name, b.name) for a, b in combinations(views, 2) if np.allclose(a.c2w, b.c2w, atol=1e-6)]
    if not same:
        return []
    return [
        f"The cameras of {same[0][0]} and {same[0][1]}{_more(same)} stand in one place and look the same way; "
        "give each view the pose that its pictures were taken from."
    ]


def _lying(views: Sequence[View]) -> list[str]:
    """Said where all cameras agree that another axis of the world than z points upwards."""
    upwards = np.mean([view.c2w[:3, 1] for view in views], axis=0)
    from_all_sides = np.linalg.norm(np.mean([view.c2w[:3, 2] for view in views], axis=0)) < 0.9
    axes = {f"{'-' if sign < 0 else '+'}{'xyz'[i]}": sign * upwards[i] for i in range(3) for sign in (1, -1)}
    best = max(axes, key=lambda axis: axes[axis])
    if best == "+z" or axes[best] < 0.8 or not from_all_sides:
        return []
    return [
        f"In the world of the cameras {best} is up, where +z should be: the object will lie in views and exports; "
        "turn the poses so that it stands."
    ]


def _more(items: Sequence | dict) -> str:
    return f" (and {len(items) - 1} more)" if len(items) > 1 else ""


def _doubt(dataset: Dataset, rig: Rig, stacks: Sequence[Masks], found: Fit) -> tuple[list[str], list[str]]:
    """What is fatal and what a problem where silhouettes do not fit: another convention, single views, or all."""
    views = dataset.views
    few = stacks[:: max(1, len(stacks) // FEW)][:FEW]
    misfit = fitted(rig, few, COARSE).misfit
    given = (
        f"The views do not fit together: {found.misfit:.0%} of their silhouettes are outside of what the others show"
    )
    undone = [v.moved(dataset.placement.undo(v.c2w[:3, 3])) for v in views]
    others = {name: change for name, change in CONVENTIONS.items() if name != "opengl-c2w"} | dict(_other_cameras())
    misfits = {name: fitted(Rig.of([change(v) for v in undone]), few, COARSE).misfit for name, change in others.items()}
    best = min(misfits, key=lambda name: misfits[name])
    if misfits[best] < BETTER * misfit:
        if best not in CONVENTIONS:
            as_good = [
                name for name, left in misfits.items() if left <= misfits[best] + 0.01 and name not in CONVENTIONS
            ]
            return [f"{given}; they do {', or '.join(as_good)} ({misfits[best]:.0%}): mend cameras.json."], []
        axes, way = best.split("-")
        name = (
            f"{'OpenCV' if axes == 'opencv' else 'OpenGL'} {'camera-to-world' if way == 'c2w' else 'world-to-camera'}"
        )
        return [
            f"{given}; they do if the poses are {name} ({misfits[best]:.0%}): dimo data convert {dataset.root} NEW "
            f"--poses {best} writes them as OpenGL camera-to-world."
        ], []
    odd = _odd_views(views, rig, stacks, found)
    if odd is not None:
        return [], [odd]
    causes = "check the poses and 'fl_x fl_y cx cy' in cameras.json, and that a frame is the same moment in all views"
    if found.misfit > HOPELESS:
        return [f"{given}; {causes}."], []
    off = float(found.blame.mean() / rig.sizes.max())
    return [], [f"{given}; {causes}."] if off > APART else []


def _odd_views(views: Sequence[View], rig: Rig, stacks: Sequence[Masks], found: Fit) -> str | None:
    """Said of one view or two, without which the others fit together."""
    kept, left = list(range(len(views))), found
    dropped: list[int] = []
    while left.misfit > 0.01 and len(kept) > 3 and len(dropped) < MOST_ODD:
        share = left.blame * left.outline / np.maximum(left.pixels, 1.0)
        dropped.append(kept.pop(int(share.argmax())))
        left = fitted(rig.choose(kept), [masks[kept] for masks in stacks])
        if left.misfit < 0.2 * found.misfit:
            names, one = " and ".join(views[i].name for i in sorted(dropped)), len(dropped) == 1
            return (
                f"{names} {'does' if one else 'do'} not fit the other views, which fit together: check "
                f"{'its camera' if one else 'their cameras'}, and that the pictures are of the same frames and not "
                "exchanged, turned, mirrored or cut."
            )
    return None


def _place(dataset: Dataset, found: Fit) -> tuple[list[str], list[str], Placement | None]:
    """What is fatal and what a problem of where the object is, and the ball around it."""
    if not np.isfinite(found.low).all():
        return [], [], None
    # Along an axis that all views look along, silhouettes say little: there it is taken to be at the origin.
    across = np.max([1 - view.c2w[:3, 2] ** 2 for view in dataset.views], axis=0) > 0.2
    low, high = np.where(across, found.low, 0.0), np.where(across, found.high, 0.0)
    middle, radius = (low + high) / 2, 0.55 * float((high - low).max())
    reach = float(np.maximum(np.abs(low), np.abs(high)).max())
    if reach <= REACH and radius >= SMALL:
        return [], [], None
    x, y, z = map(float, middle)
    there = Placement((x, y, z), radius)
    at = ", ".join(f"{float(f'{c:.2g}') + 0.0:g}" for c in middle)
    remedy = f"add {there.within(dataset.placement)} to cameras.json, or let dimo data convert bring it there"
    said = f"The object is at ({at}) with a radius of {radius:.2g}, not at the origin with about {RADIUS:g}"
    if reach > REACH:
        return [f"{said}: it is outside of the cube of {2 * EXTENT:g} in which it is looked for; {remedy}."], [], there
    if radius < TINY:
        return [f"{said}: too small to be found; {remedy}."], [], there
    return [], [f"{said}: it will be coarse; {remedy}."], there


def put_right(dataset: Dataset, convention: str) -> tuple[Dataset, Verdict]:
    """The dataset with its `c2w` taken as of this convention, a name of CONVENTIONS, and its object brought to the
    origin if it is elsewhere; and what is still wrong. Raises DimoError for a convention that there is not."""
    if convention not in CONVENTIONS:
        raise DimoError(f"There is no convention '{convention}' of poses; expected one of {', '.join(CONVENTIONS)}.")
    if convention != "opengl-c2w":
        placement, change = dataset.placement, CONVENTIONS[convention]
        undone = (v.moved(placement.undo(v.c2w[:3, 3])) for v in dataset.views)
        views = tuple(v.moved(placement.place(v.c2w[:3, 3])) for v in map(change, undone))
        dataset = replace(dataset, views=views)
    verdict = check_cameras(dataset)
    if verdict.placement is None:
        return dataset, verdict
    dataset = dataset.placed(verdict.placement)
    return dataset, check_cameras(dataset)
