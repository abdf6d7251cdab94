"""Few frames of a dataset, reduced: what cameras and views are judged by before a training."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from dimo_ns.data.dataset import Dataset, View
from dimo_ns.data.images import Rgba, read_rgba, read_video
from dimo_ns.data.silhouettes import Masks, Rig, reduced


class Moment(NamedTuple):
    """A frame of a motion, in whatever views have it."""

    motion: str
    frame: int


class Samples:
    """Reduced pictures by moment and view."""

    def __init__(self, dataset: Dataset):
        self.dataset, self.rig = dataset, Rig.of(dataset.views)
        self._pictures: dict[tuple[str, str, int], Rgba] = {}

    def add(self, motion: str, view: View, frame: int, rgba: Rgba) -> None:
        """Keeps a picture at its own size, straight alpha, in reduced size."""
        self._pictures[motion, view.name, frame] = reduced(rgba, view)

    @property
    def moments(self) -> list[Moment]:
        """Those that are there, in the order of motions and frames."""
        order = {motion.name: i for i, motion in enumerate(self.dataset.motions)}
        there = {Moment(motion, frame) for motion, _, frame in self._pictures}
        return sorted(there, key=lambda moment: (order[moment.motion], moment.frame))

    def pictures(self, moment: Moment) -> UInt8[np.ndarray, "v h w 4"]:
        """Premultiplied, in all views; black and clear where there is none, and beside the smaller ones."""
        h, w = self.rig.sizes.max(0)
        stack = np.zeros((len(self.dataset.views), h, w, 4), np.uint8)
        for place, view in zip(stack, self.dataset.views, strict=True):
            found = self._pictures.get((moment.motion, view.name, moment.frame))
            if found is not None:
                place[: found.shape[0], : found.shape[1]] = found
        return stack

    def masks(self, moment: Moment) -> Masks:
        """Their alpha."""
        return np.ascontiguousarray(self.pictures(moment)[..., 3])


def choose_moments(dataset: Dataset, most: int) -> list[Moment]:
    """Some frames of every motion, or of some motions, evenly; ones that test views have too, if there are such."""
    frames = dataset.test_frames if dataset.test_views and dataset.test_frames else range(dataset.frames)
    motions = _evenly(dataset.motions, most)
    return [Moment(m.name, f) for m in motions for f in _evenly(frames, max(1, most // len(motions)))]


def read_samples(dataset: Dataset, moments: Sequence[Moment]) -> Samples:
    """The pictures of these moments in all views that have them. Raises DimoError for one that cannot be decoded."""
    samples = Samples(dataset)
    frames: dict[str, list[int]] = {}
    for moment in moments:
        frames.setdefault(moment.motion, []).append(moment.frame)

    def read(pair: tuple[str, View]) -> None:
        motion, view = pair
        found = {f: s for f in sorted(frames[motion]) if (s := dataset.sources.get((motion, view.name, f)))}
        indices = [s.video_frame for s in found.values() if s.video_frame is not None]
        path = next((s.path for s in found.values()), dataset.root)
        images: Iterable[Rgba] = read_video(path, indices) if indices else map(read_rgba, found.values())
        for frame, rgba in zip(found, images, strict=False):
            samples.add(motion, view, frame, rgba)

    with ThreadPoolExecutor() as workers:
        list(workers.map(read, product(frames, dataset.views)))
    return samples


def _evenly(items: Sequence, count: int) -> list:
    """At most so many, from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]


