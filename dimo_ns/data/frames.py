"""The frames of a dataset in memory: decoded when they are first needed, at the size that is asked for, then kept.

Each size has a pool of slots, one contiguous uint8 array, as large as the set or the byte budget allows. Frames take a
slot in the order of their first use and stay; when the slots are used up, the rest is decoded again each time (from
files that the operating system caches). Frames are drawn at random, so keeping the first ones is as good as keeping the
latest and costs nothing.
"""

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from dimo_ns.data.dataset import Dataset
from dimo_ns.data.format import write
from dimo_ns.data.image_files import Rgba
from dimo_ns.data.images import Source, read_rgba, read_video
from dimo_ns.data.kernels import kernel
from dimo_ns.errors import DimoError

DEFAULT_BUDGET_BYTES = 2**30
PREFETCH_DEPTH = 4
"""Prefetched requests that may wait for their batch(); older ones are forgotten."""

Ids = Sequence[int] | Sequence[Sequence[int]] | np.ndarray | torch.Tensor


class Key(NamedTuple):
    """One frame of the store, by its places in `motions`, the frames and `views`."""

    motion: int
    frame: int
    view: int


class _Pool:
    """Frames of one size in one array; memory is taken from the system as slots are filled."""

    def __init__(self, shape: tuple[int, ...], count: int, size: tuple[int, int]):
        self.size = size
        self.images = np.empty((count, *size, 4), np.uint8)
        self.slots = np.full(shape, -1, np.int64)  # -1: not here
        self._taken: set[Key] = set()
        self._lock = threading.Lock()

    @property
    def full(self) -> bool:
        return len(self._taken) == len(self.images)

    def put(self, key: Key, image: Rgba) -> Rgba:
        """Keeps the image if there is room, and hands it back."""
        with self._lock:
            if self.full or key in self._taken:
                return image
            slot = len(self._taken)
            self._taken.add(key)
        self.images[slot] = image
        self.slots[key] = slot  # only now can it be found
        return image


class FrameStore:
    """Serves uint8 premultiplied RGBA of some motions and views of a dataset. To be used from one thread."""

    available: Bool[np.ndarray, "motions frames views"]
    """Which frames exist."""

    def __init__(
        self,
        dataset: Dataset,
        motions: Sequence[str],
        views: Sequence[str],
        budget_bytes: int = DEFAULT_BUDGET_BYTES,
    ):
        """`motions` and `views` are names; ids below are places in them. Decodes one frame of each motion: raises
        DimoError if it cannot be, or if a motion shows nothing in all of its frames."""
        by_name = {v.name: v for v in dataset.views}
        self.dataset = dataset
        self.motions = tuple(motions)
        self.views = tuple(by_name[name] for name in views)
        self.budget_bytes = budget_bytes
        frames = range(dataset.frames)
        self.available = np.array(
            [[[(m, v, f) in dataset.sources for v in views] for f in frames] for m in motions], dtype=bool
        ).reshape(len(motions), len(frames), len(views))
        self._pools: dict[tuple[int, int], _Pool] = {}
        self._pending: dict[tuple[_Pool, Key], Future[dict[Key, Rgba]]] = {}
        self._prefetched: deque[list[tuple[_Pool, Key]]] = deque()
        self._workers = ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="frames")
        list(self._workers.map(self._check_not_empty, range(len(self.motions))))

    def batch(
        self, motion_ids: Ids, frame_ids: Ids, view_ids: Ids, size: tuple[int, int] | None = None
    ) -> UInt8[torch.Tensor, "batch cameras h w 4"]:
        """Frames of B (motion, frame) pairs, [B], each seen from C views, [B, C]; premultiplied, on the CPU.

        `size` = (h, w), at most the size of the images, None for theirs; a smaller one is the mean over each pixel's
        area. Raises DimoError for frames that are missing, cannot be decoded or are smaller than `size`.
        """
        keys, shape = self._keys(motion_ids, frame_ids, view_ids)
        pool = self._pool(keys, size)
        index = np.array(keys).T
        slots = pool.slots[tuple(index)]
        if (slots >= 0).all():
            images = pool.images[slots]
        else:
            images = np.empty((len(keys), *pool.images.shape[1:]), np.uint8)
            self._start(pool, [k for k, slot in zip(keys, slots, strict=True) if slot < 0])
            for i, (key, slot) in enumerate(zip(keys, slots, strict=True)):
                images[i] = pool.images[slot] if slot >= 0 else self._pending[pool, key].result()[key]
        for key in keys:
            self._pending.pop((pool, key), None)
        return torch.from_numpy(images).view(*shape, *images.shape[1:])

    def prefetch(self, motion_ids: Ids, frame_ids: Ids, view_ids: Ids, size: tuple[int, int] | None = None) -> None:
        """Starts decoding in the background what batch() with the same arguments will ask for."""
        keys, _ = self._keys(motion_ids, frame_ids, view_ids)
        pool = self._pool(keys, size)
        self._prefetched.append(self._start(pool, [k for k in keys if pool.slots[k] < 0]))
        if len(self._prefetched) > PREFETCH_DEPTH:
            for entry in self._prefetched.popleft():
                future = self._pending.pop(entry, None)
                if future is not None:
                    future.cancel()

    def exact(self, motion: str, view: str, frame: int) -> Float32[np.ndarray, "h w 4"]:
        """One frame by names, straight alpha in [0, 1] at its own size, for evaluation. Raises DimoError."""
        source = self.dataset.sources.get((motion, view, frame))
        if source is None:
            raise DimoError(f"The dataset {self.dataset.root} has no frame {frame} of {motion}/{view}.")
        return read_rgba(source).astype(np.float32) / 255.0

    @property
    def held_bytes(self) -> int:
        """What the frames that are kept may take, at most `budget_bytes`."""
        return sum(pool.images.nbytes for pool in self._pools.values())

    def _keys(self, motion_ids: Ids, frame_ids: Ids, view_ids: Ids) -> tuple[list[Key], tuple[int, int]]:
        views = np.asarray(view_ids)
        pairs = [
            np.broadcast_to(np.asarray(ids).reshape(len(views), -1), views.shape) for ids in (motion_ids, frame_ids)
        ]
        keys = [Key(*map(int, row)) for row in zip(pairs[0].flat, pairs[1].flat, views.flat, strict=True)]
        for key in keys:
            if not self.available[key]:
                name = f"{self.motions[key.motion]}/{self.views[key.view].name}"
                raise DimoError(f"The dataset {self.dataset.root} has no frame {key.frame} of {name}.")
        return keys, (views.shape[0], views.shape[1])

    def _pool(self, keys: Sequence[Key], size: tuple[int, int] | None) -> _Pool:
        """The pool of this size; where the budget is used up, the pools that were not used for longest make room."""
        views = {key.view: self.views[key.view] for key in keys}.values()
        sizes = {(v.h, v.w) for v in views}
        if size is None and len(sizes) > 1:
            raise DimoError(f"The images of {', '.join(v.name for v in views)} differ in size; ask for one size.")
        h, w = size or sizes.pop()
        if any(h > v.h or w > v.w for v in views):
            raise DimoError(f"Images of {w} x {h} are asked for, but those of {self.dataset.root} are smaller.")
        pool = self._pools.pop((h, w), None)
        if pool is None:
            count = min(int(self.available.sum()), self.budget_bytes // (h * w * 4))
            room = self.budget_bytes - count * h * w * 4
            while self._pools and self.held_bytes > room:
                del self._pools[next(iter(self._pools))]
            pool = _Pool(self.available.shape, count, (h, w))
        self._pools[h, w] = pool
        return pool

    def _start(self, pool: _Pool, keys: Sequence[Key]) -> list[tuple[_Pool, Key]]:
        """Starts one job for each image, or for each video, that is not under way already."""
        fresh = [key for key in dict.fromkeys(keys) if (pool, key) not in self._pending]
        jobs: dict[tuple, list[Key]] = {}
        for key in fresh:
            clip = self._source(key).video_frame is not None
            jobs.setdefault((key.motion, key.view) if clip else key, []).append(key)
        for job in jobs.values():
            future = self._workers.submit(self._decode, pool, sorted(job))
            self._pending |= {(pool, key): future for key in job}
        return [(pool, key) for key in fresh]

    def _decode(self, pool: _Pool, keys: Sequence[Key]) -> dict[Key, Rgba]:
        """Runs in a worker: one image, or frames of one video, whose other frames are kept too while there is room."""
        first = self._source(keys[0])
        if first.video_frame is None:
            return {keys[0]: pool.put(keys[0], premultiplied(read_rgba(first), pool.size))}
        wanted, images = set(keys), {}
        clip = [keys[0]._replace(frame=f) for f in range(self.dataset.frames)]
        clip = [key for key in clip if self.available[key] and (key in wanted or not pool.full)]
        for key, rgba in zip(clip, read_video(first.path, [self._index(key) for key in clip]), strict=True):
            image = pool.put(key, premultiplied(rgba, pool.size))
            if key in wanted:
                images[key] = image
        return images

    def _source(self, key: Key) -> Source:
        return self.dataset.sources[self.motions[key.motion], self.views[key.view].name, key.frame]

    def _index(self, key: Key) -> int:
        index = self._source(key).video_frame
        assert index is not None
        return index

    def _check_not_empty(self, motion: int) -> None:
        keys = [Key(motion, int(f), int(v)) for f, v in np.argwhere(self.available[motion])]
        if not any(read_rgba(self._source(key))[..., 3].any() for key in keys):
            name = self.motions[motion]
            raise DimoError(f"The motion '{name}' in {self.dataset.root} shows nothing: its masks are all empty.")


def convert(dataset: Dataset, root: Path) -> Dataset:
    """Writes a dataset of any layout as images in ours. Raises DimoError as `write`, and for damaged frames."""

    def frames() -> Iterator[tuple[str, str, int, Rgba]]:
        for motion, view in product(dataset.motions, dataset.views):
            for frame, rgba in read_clip(dataset, motion.name, view.name):
                if isinstance(rgba, DimoError):
                    raise rgba
                yield motion.name, view.name, frame, rgba

    return write(
        root,
        object=dataset.object,
        prompt=dataset.prompt,
        licence=dataset.licence,
        views=dataset.views,
        motions=dataset.motions,
        frames=frames(),
        fps=dataset.fps,
        test_frames=dataset.test_frames,
        tracks=dataset.read_tracks() or None,
        placement=dataset.placement,
    )


def premultiplied(rgba: Rgba, size: tuple[int, int] | None = None) -> Rgba:
    """Straight to premultiplied alpha, reduced to (h, w) by the mean over each pixel's area, rounded to nearest."""
    if size is None or size == rgba.shape[:2]:
        return np.asarray(Image.fromarray(rgba).convert("RGBa"))
    return _area_mean(np.ascontiguousarray(rgba), *size)


@kernel
def _area_mean(rgba, h, w):
    """In whole numbers, in units of 1/h x 1/w of a pixel, so that it is exact for any ratio."""
    rows, columns = rgba.shape[0], rgba.shape[1]
    area = rows * columns
    out = np.empty((h, w, 4), np.uint8)
    for i in range(h):
        for j in range(w):
            red = green = blue = alpha = 0
            for y in range(i * rows // h, ((i + 1) * rows + h - 1) // h):
                share = min((i + 1) * rows, (y + 1) * h) - max(i * rows, y * h)
                for x in range(j * columns // w, ((j + 1) * columns + w - 1) // w):
                    if rgba[y, x, 3] == 0:
                        continue
                    weight = share * (min((j + 1) * columns, (x + 1) * w) - max(j * columns, x * w))
                    a = weight * np.int64(rgba[y, x, 3])
                    red += a * rgba[y, x, 0]
                    green += a * rgba[y, x, 1]
                    blue += a * rgba[y, x, 2]
                    alpha += a
            out[i, j, 0] = (2 * red + 255 * area) // (510 * area)
            out[i, j, 1] = (2 * green + 255 * area) // (510 * area)
            out[i, j, 2] = (2 * blue + 255 * area) // (510 * area)
            out[i, j, 3] = (2 * alpha + area) // (2 * area)
    return out


def read_clip(
    dataset: Dataset, motion: str, view: str, frames: Iterable[int] | None = None
) -> Iterator[tuple[int, Rgba | DimoError]]:
    """(frame, straight RGBA) of one motion in one view, one at a time; a video is read once from start to end.
    `frames`: ascending, which of them; by default all.

    A frame that cannot be decoded comes as the DimoError that says why.
    """
    wanted = range(dataset.frames) if frames is None else frames
    present = ((f, dataset.sources.get((motion, view, f))) for f in wanted)
    sources = {f: source for f, source in present if source is not None}
    indices = [s.video_frame for s in sources.values() if s.video_frame is not None]
    path = next((s.path for s in sources.values()), dataset.root)
    images = read_video(path, indices) if indices else map(read_rgba, sources.values())
    for frame in sources:
        try:
            yield frame, next(images)
        except DimoError as error:
            yield frame, error
            if indices:
                return
