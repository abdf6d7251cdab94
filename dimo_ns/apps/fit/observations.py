"""What was seen of a motion: its frames in some views, with their cameras; and renders to compare them with.

Pictures are rendered smaller than they were taken with a blur that is smaller too: 0.3 pixels of the full picture, so
that thin parts do not grow fat.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from dimo_ns.core import losses
from dimo_ns.core.cameras import viewmats_from_c2w
from dimo_ns.core.types import Gaussians
from dimo_ns.data.dataset import Dataset
from dimo_ns.data.frames import premultiplied, read_clip
from dimo_ns.errors import DimoError
from dimo_ns.rasterize import rasterization

EPS2D, MASK = 0.3, 0.5
BATCH = 24
"""Frames that are rendered at once."""


@dataclass(eq=False)
class Observations:
    """Frames of one motion over all views; time of frame f is f/T, whatever T is."""

    motion: str
    views: tuple[str, ...]
    images: UInt8[Tensor, "t v h w 4"] | Float[Tensor, "t v h w 4"]
    """Premultiplied RGBA, 0..255 or in [0, 1]."""
    exist: Bool[Tensor, "t v"]
    viewmats: Float[Tensor, "v 4 4"]
    """World-to-camera, OpenCV axes."""
    Ks: Float[Tensor, "v 3 3"]
    """Pixels of `images`."""
    fps: float = 8.0
    loop: bool = False
    eps2d: float = EPS2D
    """Blur of renders, in square pixels of `images`."""

    def __post_init__(self) -> None:
        t, v = self.images.shape[:2] if self.images.ndim == 5 else (-1, -1)
        shapes = (tuple(self.exist.shape), tuple(self.viewmats.shape), tuple(self.Ks.shape), self.images.shape[-1])
        if t < 0 or shapes != ((t, v), (v, 4, 4), (v, 3, 3), 4):
            raise DimoError(
                f"Observations are images [t, v, h, w, 4], exist [t, v], viewmats [v, 4, 4] and Ks [v, 3, 3]; got "
                f"{list(self.images.shape)} and {', '.join(str(list(s)) for s in shapes[:3])}."
            )
        if not self.exist.any():
            raise DimoError(f"The motion '{self.motion}' has no frames in {', '.join(self.views) or 'any view'}.")
        if not self.images[self.exist][..., 3].any():
            raise DimoError(f"The motion '{self.motion}' shows nothing: its masks are all empty.")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def device(self) -> torch.device:
        return self.viewmats.device

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
        factors = torch.tensor([size[1] / w, size[0] / h, 1.0], device=self.device)
        images = torch.stack(small).permute(0, 1, 3, 4, 2)
        eps2d = self.eps2d * float(factors[0] * factors[1])
        return replace(self, images=images, Ks=self.Ks * factors[:, None], eps2d=eps2d)

    def some_views(self, count: int) -> "Observations":
        """At most so many of the views, evenly chosen."""
        rows = spread(len(self.views), count)
        names = tuple(self.views[row] for row in rows.tolist())
        rows = rows.to(self.device)
        return replace(
            self,
            views=names,
            images=self.images[:, rows],
            exist=self.exist[:, rows],
            viewmats=self.viewmats[rows],
            Ks=self.Ks[rows],
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
    c2w = torch.from_numpy(np.stack([v.c2w for v in chosen])).float()
    Ks = torch.tensor([[[v.fl_x, 0, v.cx], [0, v.fl_y, v.cy], [0, 0, 1]] for v in chosen], dtype=torch.float32)
    seconds = motions[motion].times_s
    length = seconds[-1] - seconds[0]
    fps = (len(seconds) - 1) / length if length > 0 else dataset.fps
    tensors = (tensor.to(device or "cpu") for tensor in (images, exist, viewmats_from_c2w(c2w), Ks))
    return Observations(motion, tuple(names), *tensors, fps=fps, loop=motions[motion].loop)


def render(
    posed: Gaussians, seen: Observations, views: Int[Tensor, "b c"]
) -> tuple[Float[Tensor, "b c h w 3"], Float[Tensor, "b c h w 1"]]:
    """Posed Gaussians [b, n, ...] over white, each in its own views, and alpha."""
    colors, alpha, _ = rasterization(
        *posed.splats(),
        seen.viewmats[views],
        seen.Ks[views],
        seen.size[1],
        seen.size[0],
        eps2d=seen.eps2d,
    )
    return colors + 1 - alpha, alpha


def image_loss(
    image: Float[Tensor, "b c h w 3"], alpha: Float[Tensor, "b c h w 1"], rgba: Float[Tensor, "b c h w 4"]
) -> Float[Tensor, ""]:
    """L1 of colours over white, averaged over the picture and its halvings, and squared error of alpha."""
    target, mask = losses.composite(rgba, torch.ones(3, device=rgba.device))
    levels = max(0, min(3, min(rgba.shape[2:4]).bit_length() - 3))
    return losses.pyramid_l1((image - target).flatten(0, 1), levels) + MASK * (alpha - mask).square().mean()
