"""Renders against true frames.

Images are compared over white, at their own size, with the truth from exact straight alpha. PSNR is the mean over
images of the PSNR of each, at most 100 dB. "Foreground" means the pixels where the truth or the render has alpha above
1/255. Two pictures held still are measured beside a model, since a method that does not move at all already has a
respectable PSNR.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from dimo_ns.core import losses
from dimo_ns.core.types import Gaussians
from dimo_ns.data.dataset import Dataset, View, cameras_of
from dimo_ns.data.frames import read_clip
from dimo_ns.errors import DimoError
from dimo_ns.rasterize.render import render

MAX_PSNR = 100.0
VISIBLE = 1 / 255
SSIM_MARGIN = 5
"""What the valid region of SSIM leaves out on each side."""


@dataclass
class Shot:
    """A true image over white and a render of it."""

    motion: str
    view: str
    frame: int
    target: Float[Tensor, "h w 3"]
    mask: Float[Tensor, "h w 1"]
    image: Float[Tensor, "h w 3"]
    alpha: Float[Tensor, "h w 1"]
    seconds: float
    """Its share of posing and rendering."""

    def figures(self) -> dict[str, float]:
        """See `compare`."""
        return compare(self.image, self.alpha, self.target, self.mask)


def shots(
    dataset: Dataset, motion: str, views: Sequence[View], pose: Callable[[int], Gaussians], stride: int = 1
) -> Iterator[Shot]:
    """Truth and render of a motion in these views, every `stride`-th frame, all views of a frame at once.

    `pose` gives the posed Gaussians [1, n, ...] of a frame. Raises DimoError for frames that cannot be read.
    """
    truth: dict[tuple[int, str], np.ndarray] = {}
    for view in views:
        for frame, rgba in read_clip(dataset, motion, view.name):
            if isinstance(rgba, DimoError):
                raise rgba
            if frame % stride == 0:
                truth[frame, view.name] = rgba
    for frame in sorted({frame for frame, _ in truth}):
        seen = [view for view in views if (frame, view.name) in truth]
        start = time.perf_counter()
        renders = render_views(pose(frame), seen)
        seconds = (time.perf_counter() - start) / len(seen)
        for view, (image, alpha) in zip(seen, renders, strict=True):
            rgba = torch.from_numpy(truth[frame, view.name].astype(np.float32) / 255).to(image)
            mask = rgba[..., 3:]
            target = rgba[..., :3] * mask + 1 - mask
            yield Shot(motion, view.name, frame, target, mask, image, alpha, seconds)


@torch.no_grad()
def render_views(
    posed: Gaussians, views: Sequence[View]
) -> list[tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 1"]]]:
    """Image over white, in [0, 1], and alpha of posed Gaussians [1, n, ...] in each view, in their order."""
    device, seen = posed.means.device, []
    for _, same in groupby(views, lambda view: (view.h, view.w)):
        picture = render(posed, cameras_of(list(same)).to(device)[None])
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seen += zip(picture.over()[0].clamp(0, 1), picture.alpha[0], strict=True)
    return seen


def psnr(squared_error: Float[Tensor, "*any"]) -> float:
    """The PSNR of all these squared errors together, in dB."""
    return float(-10 * torch.log10(squared_error.mean().clamp(min=10 ** (-MAX_PSNR / 10))))


def foreground(alpha: Float[Tensor, "h w 1"], mask: Float[Tensor, "h w 1"]) -> Bool[Tensor, "h w"]:
    """Where the render or the truth shows anything."""
    return ((alpha > VISIBLE) | (mask > VISIBLE)).squeeze(-1)


def compare(
    image: Float[Tensor, "h w 3"],
    alpha: Float[Tensor, "h w 1"],
    target: Float[Tensor, "h w 3"],
    mask: Float[Tensor, "h w 1"],
) -> dict[str, float]:
    """PSNR and SSIM of a render against the truth, of the whole image and of its foreground where there is any."""
    squared = (image - target).square()
    inside = foreground(alpha, mask)
    similar = losses.ssim(image[None], target[None])[0]
    inner = inside[SSIM_MARGIN:-SSIM_MARGIN, SSIM_MARGIN:-SSIM_MARGIN]
    figures = {"psnr": psnr(squared), "ssim": float(similar.mean())}
    if inner.any():
        figures |= {"foreground_psnr": psnr(squared[inside]), "foreground_ssim": float(similar[inner].mean())}
    return figures


def means(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every figure over the images that have it."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return {name: float(np.mean(column)) for name, column in values.items()}


def save(image: Float[Tensor, "h w 3"], folder: Path, number: int) -> None:
    """Writes an image under the name that nerfstudio gives to the images of an evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
    Image.fromarray(pixels).save(folder / f"eval_img_{number:04d}.png")


class Stills:
    """What holding a true picture still would score, beside the model's PSNR on the same images.

    `first_frame`: the first frame of the same motion and view; `first_motion`: the first frame of the first motion;
    each over the images that differ from it: of an equal one, as where a motion begins late, the score says nothing.
    """

    def __init__(self, first_motion: str):
        self._first_motion = first_motion
        self._pictures: dict[tuple[str, str], Tensor] = {}
        self._scores: dict[str, list[tuple[float, float]]] = {"first_frame": [], "first_motion": []}

    def compare(self, shot: Shot, ours: float) -> dict[str, float]:
        """Takes a shot and the model's PSNR on it; shots come in the order of motions, then frames. Returns
        `still_psnr`, of the first frame held still, for the frames that differ from it."""
        own = self._pictures.setdefault((shot.motion, shot.view), shot.target)
        other = self._pictures.get((self._first_motion, shot.view))
        if other is not None and not torch.equal(other, shot.target):
            self._scores["first_motion"].append((psnr((other - shot.target).square()), ours))
        if torch.equal(own, shot.target):
            return {}
        self._scores["first_frame"].append((psnr((own - shot.target).square()), ours))
        return {"still_psnr": self._scores["first_frame"][-1][0]}

    def figures(self) -> dict[str, dict[str, float]]:
        return {
            name: {"psnr": float(np.mean(still)), "model_psnr": float(np.mean(ours)), "images": len(still)}
            for name, (still, ours) in ((n, tuple(zip(*s, strict=True))) for n, s in self._scores.items() if s)
        }
