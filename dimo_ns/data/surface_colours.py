"""The colours that views have of the same places: the surface of the visual hull, where two views see it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, UInt8

from dimo_ns.data.kernels import kernel
from dimo_ns.data.silhouettes import DEPTH, SOLID, Rig

GRID = 3
"""Every third pixel, across and down, is looked at."""
ENOUGH = 40
"""Places that two views have to share, so that their colours are compared."""
BLACK = 12.0
"""Added to colours of 0 to 255, so that dark ones do not count for much."""


def colour_ratios(rig: Rig, frames: Sequence[UInt8[np.ndarray, "v h w 4"]]) -> Float64[np.ndarray, "v 3"]:
    """Natural logarithms of how much lighter each view has the colours of a place than view 0 has, or than it would
    have, by way of the views between them; nan where no views lead there."""
    views = len(rig.eyes)
    pairs: dict[tuple[int, int], list[np.ndarray]] = {}
    for pictures in frames:
        for v, u, first, second in _shared_places(rig, pictures):
            pairs.setdefault((v, u), []).append(np.log((first + BLACK) / (second + BLACK)))
    system, target = np.zeros((views, views)), np.zeros((views, 3))
    for (v, u), ratios in pairs.items():
        found = np.concatenate(ratios)
        if len(found) < ENOUGH:
            continue
        median, weight = np.median(found, axis=0), len(found)
        system[[v, u], [v, u]] += weight
        system[[v, u], [u, v]] -= weight
        target[v] += weight * median
        target[u] -= weight * median
    reached = _reached_from_first(system != 0)
    ratios = np.full((views, 3), np.nan)
    ratios[0] = 0
    others = [i for i in range(1, views) if reached[i]]
    if others:
        ratios[others] = np.linalg.solve(system[np.ix_(others, others)], target[others])
    return ratios


def _reached_from_first(joined: np.ndarray) -> np.ndarray:
    """Which views are joined to view 0, directly or by others."""
    reached = np.zeros(len(joined), bool)
    reached[0] = True
    for _ in joined:
        reached |= joined[reached].any(0)
    return reached


def _shared_places(rig: Rig, pictures: UInt8[np.ndarray, "v h w 4"]) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
    """(view, other view, colours in the one, colours in the other) of places that both see."""
    masks = np.ascontiguousarray(pictures[..., 3])
    centre, radius = rig.ball(masks)
    shown = np.array([mask.max(initial=0) >= SOLID for mask in masks])
    arrays = rig.sizes, rig.projections, rig.rays, rig.eyes
    surface = np.full((*masks.shape, 3), np.nan)
    _first_hits(masks, shown, *arrays, centre, DEPTH * radius, radius / 60, surface)
    found = []
    for v in range(len(masks)):
        places = surface[v][np.isfinite(surface[v, ..., 0])]
        if not len(places):
            continue
        mine = _looked_up(rig, pictures, surface, v, places)[0]
        for u in range(len(masks)):
            if u != v and shown[u]:
                theirs, there = _looked_up(rig, pictures, surface, u, places)
                same = np.linalg.norm(there - places, axis=1) < 0.05 * radius
                if same.any():
                    found.append((v, u, mine[same], theirs[same]))
    return found


def _looked_up(rig: Rig, pictures: np.ndarray, surface: np.ndarray, view: int, places: np.ndarray):
    """What a view shows where these places would be: its colours, and the place of its own surface (nan: none)."""
    p = np.concatenate([places, np.ones((len(places), 1))], 1) @ rig.projections[view].T
    h, w = rig.sizes[view]
    x = np.clip(p[:, 0] / p[:, 2], 0, w - 1).astype(int)
    y = np.clip(p[:, 1] / p[:, 2], 0, h - 1).astype(int)
    on_grid = surface[view, np.minimum(y // GRID * GRID + 1, h - 1), np.minimum(x // GRID * GRID + 1, w - 1)]
    clear = pictures[view, y, x, 3] == 255
    return pictures[view, y, x, :3].astype(np.float64), np.where(clear[:, None], on_grid, np.nan)


@kernel
def _first_hits(masks, shown, sizes, projections, rays, eyes, centre, reach, step, surface):
    """Where rays through opaque pixels of the grid first come into all other silhouettes."""
    views = masks.shape[0]
    ray = np.zeros(3)
    for v in range(views):
        h, w = sizes[v, 0], sizes[v, 1]
        for y in range(1, h, GRID):
            for x in range(1, w, GRID):
                if masks[v, y, x] < 255:
                    continue
                for i in range(3):
                    ray[i] = rays[v, i, 0] * (x + 0.5) + rays[v, i, 1] * (y + 0.5) + rays[v, i, 2]
                ray /= np.sqrt((ray**2).sum())
                middle = ((centre - eyes[v]) * ray).sum()
                t = max(middle - reach, step)
                while t < middle + reach:
                    inside = True
                    for u in range(views):
                        if u == v or not shown[u]:
                            continue
                        p = projections[u]
                        q0, q1, q2 = eyes[v, 0] + t * ray[0], eyes[v, 1] + t * ray[1], eyes[v, 2] + t * ray[2]
                        z = p[2, 0] * q0 + p[2, 1] * q1 + p[2, 2] * q2 + p[2, 3]
                        if z <= 0:
                            inside = False
                            break
                        column = int(np.floor((p[0, 0] * q0 + p[0, 1] * q1 + p[0, 2] * q2 + p[0, 3]) / z))
                        row = int(np.floor((p[1, 0] * q0 + p[1, 1] * q1 + p[1, 2] * q2 + p[1, 3]) / z))
                        row, column = min(max(row, 0), sizes[u, 0] - 1), min(max(column, 0), sizes[u, 1] - 1)
                        if masks[u, row, column] < SOLID:
                            inside = False
                            break
                    if inside:
                        for i in range(3):
                            surface[v, y, x, i] = eyes[v, i] + t * ray[i]
                        break
                    t += step
