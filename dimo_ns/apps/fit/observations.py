"""What was seen of a motion: its frames in some views, with their cameras, and how far renders are from them.

Pictures are rendered smaller than they were taken with a blur that is smaller too: 0.3 pixels of the full picture, so
that thin parts do not grow fat.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from dimo_ns.core import losses
from dimo_ns.core.cameras import Cameras
from dimo_ns.core.types import Gaussians
from dimo_ns.data.dataset import Dataset, cameras_of
from dimo_ns.data.frames import premultiplied, read_clip
from dimo_ns.errors import DimoError
from dimo_ns.rasterize.render import Render, render

EPS2D, MASK = 0.3, 0.5
SMALL, MIDDLE, FULL = 64, 128, 512
"""Sizes of pictures, by their longer sides in pixels."""
BATCH = 24
"""Frames that are rendered at once."""
Say = Callable[[str, float], object]
"""Told what is done, and how far it is, in [0, 1]."""


@dataclass(eq=False)
class Observations:
    """Frames of one motion over all views; time of frame f is f/T, whatever T is."""

    motion: str
    views: tuple[str, ...]
    images: UInt8[Tensor, "t v h w 4"] | Float[Tensor, "t v h w 4"]
    """Premultiplied RGBA, 0..255 or in [0, 1]."""
    exist: Bool[Tensor, "t v"]
    cameras: Cameras
    """[v], whose pixels are those of `images`."""
    fps: float = 8.0
    loop: bool = False
    eps2d: float = EPS2D
    """Blur of renders, in square pixels of `images`."""

    def __post_init__(self) -> None:
        t, v = self.images.shape[:2] if self.images.ndim == 5 else (-1, -1)
        cameras = len(self.cameras), *self.cameras.size, 4
        if tuple(self.exist.shape) != (t, v) or tuple(self.images.shape[1:]) != cameras:
            raise DimoError(
                f"Observations are images [t, v, h, w, 4], exist [t, v] and v cameras of that size; got "
                f"{list(self.images.shape)}, {list(self.exist.shape)} and {len(self.cameras)} of {self.cameras.size}."
            )
        if not self.exist.any():
            raise DimoError(f"The motion '{self.motion}' has no frames in {', '.join(self.views) or 'any view'}.")
        if not self.images[self.exist][..., 3].any():
            raise DimoError(f"The motion '{self.motion}' shows nothing: its masks are all empty.")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.cameras.size

    @property
    def device(self) -> torch.device:
        return self.cameras.viewmats.device

    @property
    def times(self) -> Float[Tensor, " t"]:
        return torch.arange(len(self.images), device=self.device) / len(self.images)

    @property
    def seen(self) -> Int[Tensor, " s"]:
        """The frames that some view has."""
        return self.exist.any(1).nonzero()[:, 0]

    def at(self, longest: int) -> "Observations":
        """The same with pictures whose longer side is at most so many pixels: means over each pixel's area."""
        h, w = self.size
        scale = longest / max(h, w)
        if scale >= 1:
            return self
        size = max(1, round(h * scale)), max(1, round(w * scale))
        small = [F.adaptive_avg_pool2d(self._float(frame).permute(0, 3, 1, 2), size) for frame in self.images]
        images = torch.stack(small).permute(0, 1, 3, 4, 2)
        eps2d = self.eps2d * size[0] * size[1] / (h * w)
        return replace(self, images=images, cameras=self.cameras.resized(size), eps2d=eps2d)

    def some_views(self, count: int) -> "Observations":
        """At most so many of the views, evenly chosen."""
        return self.of(spread(len(self.views), count).to(self.device))

    def of(self, views: Int[Tensor, " v"], frames: slice = slice(None)) -> "Observations":
        """These views alone, and these frames."""
        return replace(
            self,
            views=tuple(self.views[view] for view in views.tolist()),
            images=self.images[frames, views],
            exist=self.exist[frames, views],
            cameras=self.cameras[views],
        )

    def draw(self, rng: np.random.Generator, frames: Int[Tensor, " b"], count: int) -> Int[Tensor, "b c"]:
        """Random views of these frames, as many of each; only those that exist."""
        chosen = []
        for row in self.exist[frames].cpu().numpy():
            there = np.flatnonzero(row)
            chosen.append(rng.choice(there, count, replace=len(there) < count))
        return torch.from_numpy(np.stack(chosen)).to(self.device)

    def rgba(self, frames: Int[Tensor, "*#b"], views: Int[Tensor, "*b"]) -> Float[Tensor, "*b h w 4"]:
        """Frames as seen from views, premultiplied, in [0, 1]; a frame may be given once for several views."""
        return self._float(self.images[frames, views])

    def render(self, posed: Gaussians, views: Int[Tensor, "b c"]) -> Render:
        """Posed Gaussians [b, n, ...], each in its own views."""
        return render(posed, self.cameras[views], eps2d=self.eps2d)

    def loss(self, posed: Gaussians, frames: Int[Tensor, " b"], views: Int[Tensor, "b c"]) -> Float[Tensor, ""]:
        """How far posed Gaussians [b, n, ...] are from these frames in these views: L1 of colours over white, averaged
        over the picture and its halvings, and squared error of alpha."""
        picture, rgba = self.render(posed, views), self.rgba(frames[:, None], views)
        target, mask = losses.composite(rgba, torch.ones(3, device=rgba.device))
        levels = max(0, min(3, min(self.size).bit_length() - 3))
        error = losses.pyramid_l1((picture.over() - target).flatten(0, 1), levels)
        return error + MASK * (picture.alpha - mask).square().mean()

    @staticmethod
    def _float(images: Tensor) -> Tensor:
        return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def spread(count: int, wanted: int) -> Int[Tensor, " n"]:
    """At most `wanted` of `count` indices, evenly from the first on."""
    return (torch.arange(min(count, wanted)) * (count / min(count, wanted))).long()


def close(name: str, names: Sequence[str]) -> str:
    """A hint for a name that is not there."""
    found = difflib.get_close_matches(name, names, 1, cutoff=0.5)
    return f"did you mean '{found[0]}'?" if found else f"it has {', '.join(names)}."


def observe(
    dataset: Dataset, motion: str, views: Sequence[str] | None = None, device: torch.device | None = None
) -> Observations:
    """The frames of a motion of a dataset, in its training views or in those that are named, straight from its files.

    Raises DimoError for names that are not there, views of different sizes, and frames that cannot be read.
    """
    motions, known = {m.name: m for m in dataset.motions}, {v.name: v for v in dataset.views}
    if motion not in motions:
        raise DimoError(f"The dataset {dataset.root} has no motion '{motion}'; {close(motion, list(motions))}")
    names = list(dict.fromkeys(views if views is not None else [v.name for v in dataset.train_views]))
    for name in names:
        if name not in known:
            raise DimoError(f"The dataset {dataset.root} has no view '{name}'; {close(name, list(known))}")
    if not names:
        raise DimoError(f"No view of '{motion}' was named; {dataset.root} has {', '.join(known)}.")
    chosen = [known[name] for name in names]
    sizes = {(v.h, v.w) for v in chosen}
    if len(sizes) > 1:
        raise DimoError(f"The views {', '.join(names)} differ in size; name views of one size with --views.")
    (h, w), frames = sizes.pop(), dataset.frames
    images = torch.zeros(frames, len(names), h, w, 4, dtype=torch.uint8)
    exist = torch.zeros(frames, len(names), dtype=torch.bool)
    for column, name in enumerate(names):
        for frame, rgba in read_clip(dataset, motion, name):
            if isinstance(rgba, DimoError):
                raise rgba
            images[frame, column] = torch.from_numpy(premultiplied(rgba).copy())
            exist[frame, column] = True
    seconds = motions[motion].times_s
    length = seconds[-1] - seconds[0]
    fps = (len(seconds) - 1) / length if length > 0 else dataset.fps
    place = device or torch.device("cpu")
    images, exist, cameras = images.to(place), exist.to(place), cameras_of(chosen).to(place)
    return Observations(motion, tuple(names), images, exist, cameras, fps, motions[motion].loop)
