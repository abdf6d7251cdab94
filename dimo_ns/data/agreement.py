"""How far the views of a dataset disagree before anything is trained: outlines that no shape has together, clips that
are late, colours that are not those of view 0."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from jaxtyping import Float64

from dimo_ns.data.samples import Moment, Samples
from dimo_ns.data.silhouettes import fit
from dimo_ns.data.surface_colours import colour_ratios

UNNOTICED_PIXELS, UNNOTICED_ALONE = 0.15, 0.4
"""Of the reduced pictures: outlines that disagree by less, on the mean over a motion's views and in each of them, are
said to agree."""
UNNOTICED_COLOUR = 0.08
"""Share by which a colour may be off."""
LAGS = (-3, -2, -1, 0, 1, 2, 3)
LAG_MOMENTS = 6
"""Frames of a motion by which delays are told."""
SURE = 0.65
"""A delay is told if it leaves at most this part of a view's disagreement."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """What disagrees, by motion and training view; nan: unknown."""

    motions: tuple[str, ...]
    views: tuple[str, ...]
    outlines: Float64[np.ndarray, "m v"]
    """By how many pixels of its pictures a view's outline is off."""
    late: Float64[np.ndarray, "m v"]
    """By how many frames a view shows what others showed before; negative: early."""
    colours: Float64[np.ndarray, "m v"]
    """By which share the colours are off from those that view 0 has at the same places, in the worst channel."""
    agrees: bool
    """Whether nothing of it is worth a word."""

    @property
    def worst(self) -> list[tuple[int, int]]:
        """(motion, view) of the views that look worst, at most three, by outline and then by colour."""
        score = np.nan_to_num(self.outlines) / UNNOTICED_PIXELS + np.nan_to_num(self.colours) / UNNOTICED_COLOUR
        order = np.argsort(-score, axis=None)[:3]
        return [(int(i) // len(self.views), int(i) % len(self.views)) for i in order if score.flat[i] > 1]

    def view_order(self) -> list[str]:
        """The views, worst first."""
        score = np.nan_to_num(self.outlines).mean(0) + np.nan_to_num(self.colours).mean(0)
        return [self.views[i] for i in np.argsort(-score, kind="stable")]

    def sentences(self) -> list[str]:
        """What is said of it as problems; nothing where views agree."""
        if self.agrees:
            return []
        by_motion, by_view = self.outlines.mean(1), self.outlines.mean(0)
        worst = "; ".join(f"{motion}/{view} ({self.said_of(motion, view)})" for motion, view in self.worst_names)
        where = f"most in the motion {self.motions[int(by_motion.argmax())]} and in {self.views[int(by_view.argmax())]}"
        return [
            f"The views disagree: outlines by {self.outlines.mean():.1f} pixels on the mean, {where}; worst (pixels of "
            f"outline, frames late or early, colours beside view 0's): {worst}."
        ]

    @property
    def worst_names(self) -> list[tuple[str, str]]:
        """Motion and view of the worst."""
        return [(self.motions[motion], self.views[view]) for motion, view in self.worst]

    def said_of(self, motion: str, view: str) -> str:
        """What is off in one motion of one view, in few words; nothing for what was not measured."""
        if motion not in self.motions or view not in self.views:
            return ""
        at = self.motions.index(motion), self.views.index(view)
        parts = [f"{self.outlines[at]:.1f} px"]
        if abs(self.late[at]) >= 0.3:
            parts.append(f"{'late' if self.late[at] > 0 else 'early'} {abs(self.late[at]):.1f}")
        if self.colours[at] > UNNOTICED_COLOUR:
            parts.append(f"colour {self.colours[at]:.0%}")
        return ", ".join(parts)


def measure(samples: Samples) -> Agreement:
    """How far the training views of these samples disagree."""
    views = [i for i, view in enumerate(samples.dataset.views) if view.split == "train"]
    train = samples.dataset.train_views
    motions: dict[str, list[Moment]] = {}
    for moment in samples.moments:
        motions.setdefault(moment.motion, []).append(moment)
    with ThreadPoolExecutor() as workers:
        rows = list(workers.map(lambda moments: _of_motion(samples, views, moments), motions.values()))
    shape = len(rows), len(views)
    outlines, late, colours = (np.array([row[i] for row in rows]).reshape(shape) for i in range(3))
    enlarged = np.array([max(v.h, v.w) / max(samples.rig.sizes[i]) for i, v in zip(views, train, strict=True)])
    quiet = (outlines.mean(1) <= UNNOTICED_PIXELS).all() and outlines.max() <= UNNOTICED_ALONE
    agrees = len(views) < 2 or bool(quiet and not (colours > UNNOTICED_COLOUR).any())
    return Agreement(tuple(motions), tuple(v.name for v in train), outlines * enlarged, late, colours, agrees)


def _of_motion(samples: Samples, views: Sequence[int], moments: Sequence[Moment]) -> tuple[np.ndarray, ...]:
    """Outlines in reduced pixels, delays and colours, by view."""
    rig = samples.rig.choose(views)
    stacks = [samples.masks(moment)[views] for moment in moments]
    outlines = reduce(add, [fit(rig, masks) for masks in stacks]).blame
    ratios = colour_ratios(rig, [samples.pictures(moment)[views] for moment in moments])
    late = np.full(len(views), np.nan)
    if len(views) > 3 and outlines.max() > UNNOTICED_ALONE:
        late = _delays(samples, views, moments)
    return outlines, late, np.abs(np.exp(ratios) - 1).max(1)


def _delays(samples: Samples, views: Sequence[int], moments: Sequence[Moment]) -> Float64[np.ndarray, " v"]:
    """By how many frames each view is late: where its silhouettes fit those of the others best."""
    rig = samples.rig.choose(views)
    usable = [m for m in moments if all(samples.has(m.motion, m.frame + lag) for lag in LAGS)]
    usable = usable[:: max(1, len(usable) // LAG_MOMENTS)][:LAG_MOMENTS]
    if not usable:
        return np.full(len(views), np.nan)
    out = np.zeros((len(LAGS), len(views)))
    for moment in usable:
        masks = samples.masks(moment)[views]
        for row, lag in zip(out, LAGS, strict=True):
            found = fit(rig, masks, samples.masks(Moment(moment.motion, moment.frame + lag))[views], stride=2)
            row += found.alone  # what another late view disputes is not this one's
    return np.array([_lowest(column) for column in out.T])


def _lowest(costs: Float64[np.ndarray, " lags"]) -> float:
    """How late a view is that fits the others this well when they are moved by LAGS: minus the place of the minimum,
    between frames by the parabola through its neighbours; 0 where it is not clear."""
    best, now = int(costs.argmin()), LAGS.index(0)
    if costs[best] > SURE * costs[now]:
        return 0.0
    place = float(LAGS[best])
    if 0 < best < len(LAGS) - 1:
        before, at, after = costs[best - 1 : best + 2]
        place += 0.5 * (before - after) / max(before - 2 * at + after, 1e-9)
    return -place
