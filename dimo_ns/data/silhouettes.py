"""Silhouettes of one frame in all views, and what they say of each other: whether the rays through each meet the visual
hull of the others.

A silhouette pixel of a view is *alone* if every point of its ray is outside at least two other silhouettes, and
*disputed* if the best of them is outside one: then those views *cut* it. Where cameras, masks and times are right there
is neither. A point is outside where a silhouette's alpha, interpolated, is below a quarter, which forgives thin parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from dimo_ns.data.dataset import View
from dimo_ns.data.frames import premultiplied
from dimo_ns.data.image_files import Rgba
from dimo_ns.data.kernels import inlined, kernel

REDUCED = 128
"""Longer side of the pictures that are looked at, in pixels."""
SOLID, OUTSIDE = 128, 64.0
"""Alpha from which a pixel belongs to a silhouette, and below which a point is outside of one."""
FINEST, DEPTH = 200, 2.0
"""Steps along a ray from the middle of the object to where the search ends, at most; and where that is, in radii
across: an object may be longer along the view than it is wide."""

Masks = UInt8[np.ndarray, "v h w"]


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras of reduced pictures, as arrays."""

    sizes: Int64[np.ndarray, "v 2"]
    """Height and width in pixels; they may differ between views."""
    projections: Float64[np.ndarray, "v 3 4"]
    """World to pixels."""
    rays: Float64[np.ndarray, "v 3 3"]
    """A pixel (x, y, 1) to the direction of its ray, of any length, in the world."""
    eyes: Float64[np.ndarray, "v 3"]

    @staticmethod
    def of(views: Sequence[View], longest: int = REDUCED) -> "Rig":
        """The cameras of these views for pictures whose longer side is at most `longest` pixels."""
        sizes = np.array([reduced_size(view, longest) for view in views], np.int64)
        turns = np.stack([view.c2w[:3, :3] * [1.0, -1.0, -1.0] for view in views])
        eyes = np.stack([view.c2w[:3, 3] for view in views])
        Ks = np.zeros((len(views), 3, 3))
        for K, view, (h, w) in zip(Ks, views, sizes, strict=True):
            K[0, 0], K[0, 2] = view.fl_x * w / view.w, view.cx * w / view.w
            K[1, 1], K[1, 2] = view.fl_y * h / view.h, view.cy * h / view.h
            K[2, 2] = 1
        back = turns.transpose(0, 2, 1)
        projections = Ks @ np.concatenate([back, -back @ eyes[..., None]], -1)
        return Rig(sizes, projections, turns @ np.linalg.inv(Ks), eyes)

    def choose(self, views: Sequence[int]) -> "Rig":
        """Some of the cameras."""
        chosen = list(views)
        return Rig(self.sizes[chosen], self.projections[chosen], self.rays[chosen], self.eyes[chosen])

    def ball(self, masks: Masks) -> tuple[Float64[np.ndarray, " 3"], float]:
        """The point that is nearest to the rays through the middles of the silhouettes (of several, the one next to the
        origin), and how far from it the rays through the silhouettes pass at most."""
        outlines = [self._directions(v, mask) for v, mask in enumerate(masks)]
        system, target = np.zeros((3, 3)), np.zeros(3)
        for eye, directions in zip(self.eyes, outlines, strict=True):
            if len(directions):
                middle = directions.mean(0) / np.linalg.norm(directions.mean(0))
                across = np.eye(3) - np.outer(middle, middle)
                system, target = system + across, target + across @ eye
        centre = np.linalg.lstsq(system, target, rcond=1e-3)[0]
        radius = 0.0
        for eye, directions in zip(self.eyes, outlines, strict=True):
            nearest = eye + (directions @ (centre - eye))[:, None] * directions
            radius = max(radius, float(np.linalg.norm(nearest - centre, axis=1).max(initial=0.0)))
        return centre, radius

    def _directions(self, view: int, mask: UInt8[np.ndarray, "h w"]) -> Float64[np.ndarray, "n 3"]:
        y, x = np.nonzero(mask >= SOLID)
        rays = np.stack([x + 0.5, y + 0.5, np.ones(len(x))], -1) @ self.rays[view].T
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def reduced_size(view: View, longest: int = REDUCED) -> tuple[int, int]:
    """Height and width of a view's pictures when their longer side is at most `longest` pixels."""
    scale = min(1.0, longest / max(view.h, view.w))
    return max(1, round(view.h * scale)), max(1, round(view.w * scale))


def reduced(rgba: Rgba, view: View) -> Rgba:
    """A picture of this view as it is looked at: small, premultiplied."""
    return premultiplied(rgba, reduced_size(view))


@dataclass(frozen=True, eq=False)
class Fit:
    """How silhouettes of one frame, or of several, fit together: counts of pixels of the reduced pictures, by view."""

    pixels: Float64[np.ndarray, " v"]
    """In the silhouettes."""
    alone: Float64[np.ndarray, " v"]
    disputed: Float64[np.ndarray, " v"]
    cuts: Float64[np.ndarray, " v"]
    """Of other views, that this view cuts."""
    outline: Float64[np.ndarray, " v"]
    """On the edges of the silhouettes."""
    low: Float64[np.ndarray, " 3"]
    high: Float64[np.ndarray, " 3"]
    """The box around the points that rays and hull have in common, in the world; the lower corner is infinite if there
    are none."""

    def __add__(self, other: "Fit") -> "Fit":
        counts = ("pixels", "alone", "disputed", "cuts", "outline")
        added = (getattr(self, name) + getattr(other, name) for name in counts)
        return Fit(*added, low=np.minimum(self.low, other.low), high=np.maximum(self.high, other.high))

    @property
    def misfit(self) -> float:
        """The share of the silhouettes that is outside of the common hull."""
        return float((self.alone + self.disputed).sum() / max(self.pixels.sum(), 1.0))

    @property
    def blame(self) -> Float64[np.ndarray, " v"]:
        """By how many reduced pixels each view's outline disagrees, on its mean: how far it is out of what others
        allow. What is between two views alone is half the fault of either."""
        return (self.alone + 0.5 * (self.disputed + self.cuts)) / np.maximum(self.outline, 1.0)


def fit(rig: Rig, masks: Masks, others: Masks | None = None, stride: int = 1) -> Fit:
    """How the silhouettes of one frame fit together; views whose mask is empty do not count.

    With `others`, pixels of `masks` are held against those of another frame. One pixel in `stride` is looked at.
    """
    others = masks if others is None else others
    centre, radius = rig.ball(masks)
    views = len(masks)
    counts, cuts, box = np.zeros((4, views)), np.zeros(views), np.array([[np.inf] * 3, [-np.inf] * 3])
    shown = np.array([mask.max(initial=0) >= SOLID for mask in others])
    arrays = rig.sizes, rig.projections, rig.rays, rig.eyes
    _fit(masks, others, shown, *arrays, centre, DEPTH * radius, stride, counts, cuts, box)
    return Fit(counts[0], counts[1], counts[2], cuts, counts[3], box[0], box[1])


@inlined
def _alpha(mask, y, x, h, w):
    """Interpolated between pixel centres; beyond the edge, as on it."""
    y, x = min(max(y - 0.5, 0.0), h - 1.0), min(max(x - 0.5, 0.0), w - 1.0)
    i, j = int(y), int(x)
    below, right = min(i + 1, h - 1), min(j + 1, w - 1)
    top = mask[i, j] * (j + 1 - x) + mask[i, right] * (x - j)
    bottom = mask[below, j] * (j + 1 - x) + mask[below, right] * (x - j)
    return top * (i + 1 - y) + bottom * (y - i)


@inlined
def _on_edge(mask, y, x, h, w):
    if y == 0 or x == 0 or y == h - 1 or x == w - 1:
        return True
    return mask[y - 1, x] < SOLID or mask[y + 1, x] < SOLID or mask[y, x - 1] < SOLID or mask[y, x + 1] < SOLID


@kernel
def _fit(masks, others, shown, sizes, projections, rays, eyes, centre, radius, stride, counts, cuts, box):
    views = masks.shape[0]
    sole = np.zeros(views, np.bool_)
    point, at, ray = np.zeros(3), np.zeros(3), np.zeros(3)
    for v in range(views):
        h, w = sizes[v, 0], sizes[v, 1]
        for y in range(h):
            for x in range(w):
                if masks[v, y, x] < SOLID or (x + 3 * y) % stride:
                    continue
                counts[0, v] += 1
                if _on_edge(masks[v], y, x, h, w):
                    counts[3, v] += 1
                for i in range(3):
                    ray[i] = rays[v, i, 0] * (x + 0.5) + rays[v, i, 1] * (y + 0.5) + rays[v, i, 2]
                length = np.sqrt((ray**2).sum())
                ray /= length
                middle = ((centre - eyes[v]) * ray).sum()
                # A pixel wide, where the object is.
                step = max(abs(middle) * np.abs(rays[v, :, 0]).max() / length, radius / FINEST)
                sole[:] = False
                least, found = 2, middle
                for k in range(2 * int(radius / step) + 1):  # from the middle outwards, to both sides
                    t = middle + ((k + 1) // 2) * (step if k % 2 else -step)
                    if t <= 0:
                        continue
                    out, who = 0, -1
                    for i in range(3):
                        point[i] = eyes[v, i] + t * ray[i]
                    for u in range(views):
                        if u == v or not shown[u]:
                            continue
                        for i in range(3):
                            p = projections[u, i]
                            at[i] = p[0] * point[0] + p[1] * point[1] + p[2] * point[2] + p[3]
                        z = at[2]
                        if z <= 0 or _alpha(others[u], at[1] / z, at[0] / z, sizes[u, 0], sizes[u, 1]) < OUTSIDE:
                            out += 1
                            who = u
                            if out == 2:
                                break
                    if out == 1:
                        sole[who] = True
                    if out < least:
                        least, found = out, t
                    if out == 0:
                        break
                if least == 0:
                    for i in range(3):
                        p = eyes[v, i] + found * ray[i]
                        box[0, i] = min(box[0, i], p)
                        box[1, i] = max(box[1, i], p)
                elif least == 1:
                    counts[2, v] += 1
                    for u in range(views):
                        if sole[u]:
                            cuts[u] += 1.0 / sole.sum()
                else:
                    counts[1, v] += 1
