"""Few frames of a dataset, reduced: what cameras and views are judged by before a training."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from dimo_ns.data.dataset import Dataset, View
from dimo_ns.data.frames import read_clip
from dimo_ns.data.image_files import Rgba
from dimo_ns.data.silhouettes import Masks, Rig, reduced
from dimo_ns.errors import DimoError

MOST_MASKS = 600
"""Frames of all motions up to which the masks of all of them are kept: 16 kB for each view."""


class Moment(NamedTuple):
    """A frame of a motion, in whatever views have it."""

    motion: str
    frame: int


class Samples:
    """Reduced pictures by moment and view: of the chosen moments, and masks of others between them."""

    def __init__(self, dataset: Dataset, moments: Sequence[Moment]):
        self.dataset, self.rig, self.moments = dataset, Rig.of(dataset.views), list(moments)
        self._chosen = set(moments)
        self._all_masks = len(dataset.motions) * dataset.frames <= MOST_MASKS
        self._pictures: dict[Moment, dict[str, Rgba]] = {}
        self._masks: dict[Moment, dict[str, UInt8[np.ndarray, "h w"]]] = {}

    def add(self, motion: str, view: View, frame: int, rgba: Rgba) -> None:
        """Keeps of a picture at its own size, straight alpha, what is wanted of it, in reduced size."""
        moment = Moment(motion, frame)
        if moment not in self._chosen and not self._all_masks:
            return
        picture = reduced(rgba, view)
        self._masks.setdefault(moment, {})[view.name] = picture[..., 3].copy()
        if moment in self._chosen:
            self._pictures.setdefault(moment, {})[view.name] = picture

    def has(self, motion: str, frame: int) -> bool:
        """Whether there are masks of this moment."""
        return Moment(motion, frame) in self._masks

    def pictures(self, moment: Moment) -> UInt8[np.ndarray, "v h w 4"]:
        """Of a chosen moment in all views, premultiplied; clear where there is none, and beside the smaller ones."""
        return self._stacked(self._pictures.get(moment, {}), (4,))

    def masks(self, moment: Moment) -> Masks:
        """Their alpha; also of moments that were not chosen."""
        return self._stacked(self._masks.get(moment, {}), ())

    def _stacked(self, found: dict[str, np.ndarray], channels: tuple[int, ...]) -> np.ndarray:
        stack = np.zeros((len(self.dataset.views), *self.rig.sizes.max(0), *channels), np.uint8)
        for place, view in zip(stack, self.dataset.views, strict=True):
            if (picture := found.get(view.name)) is not None:
                place[: picture.shape[0], : picture.shape[1]] = picture
        return stack


def choose_moments(dataset: Dataset, most: int) -> list[Moment]:
    """Some frames of every motion, or of some motions, evenly; ones that test views have too, if there are such."""
    frames = dataset.test_frames if dataset.test_views and dataset.test_frames else range(dataset.frames)
    motions = _evenly(dataset.motions, most)
    return [Moment(m.name, f) for m in motions for f in _evenly(frames, max(1, most // len(motions)))]


def read_samples(dataset: Dataset, moments: Sequence[Moment]) -> Samples:
    """The pictures of these moments in all views that have them. Raises DimoError for one that cannot be decoded."""
    samples = Samples(dataset, moments)
    frames: dict[str, list[int]] = {}
    for moment in moments:
        frames.setdefault(moment.motion, []).append(moment.frame)

    def read(pair: tuple[str, View]) -> None:
        motion, view = pair
        for frame, rgba in read_clip(dataset, motion, view.name, sorted(frames[motion])):
            if isinstance(rgba, DimoError):
                raise rgba
            samples.add(motion, view, frame, rgba)

    with ThreadPoolExecutor() as workers:
        list(workers.map(read, product(frames, dataset.views)))
    return samples


def _evenly(items: Sequence, count: int) -> list:
    """At most so many, from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]
