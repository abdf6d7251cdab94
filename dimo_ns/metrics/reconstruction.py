"""Figures of motions that were rendered against the true frames of some views: all together, by motion and by view."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.core.types import Gaussians
from dimo_ns.data.dataset import Dataset, View
from dimo_ns.metrics.images import Shot, Stills, means, shots
from dimo_ns.metrics.perceptual import Perceptual
from dimo_ns.metrics.pretrained import ClipSimilarity, VideoFeatures, frechet_distance


@dataclass(frozen=True)
class Reconstruction:
    """How close renders come to the truth; the figures of an image are those of `metrics.images.compare`, and more."""

    mean: dict[str, float]
    """Over all images; of videos `fvd`, where it was asked for, and how many there are (`fvd_videos`)."""
    by_motion: dict[str, dict[str, float]]
    by_view: dict[str, dict[str, float]]
    still: dict[str, dict[str, float]]
    """True pictures held still beside them: see `metrics.images.Stills`."""
    images: int
    pixels: int
    seconds: float
    """What posing and rendering took."""


def reconstruct(
    dataset: Dataset,
    motions: Sequence[str],
    views: Sequence[View],
    pose: Callable[[str, int], Gaussians],
    *,
    stride: int = 1,
    still: bool = True,
    perceptual: Perceptual | None = None,
    clip: ClipSimilarity | None = None,
    video: VideoFeatures | None = None,
    each: Callable[[Shot], object] = lambda shot: None,
) -> Reconstruction:
    """Compares every `stride`-th frame of these motions in these views with its render.

    `pose` gives the posed Gaussians [1, n, ...] of a motion and a frame. `still`: whether true pictures held still are
    compared too. `perceptual`: what measures how different they look. `each` is called with every shot. Raises
    DimoError for frames that cannot be read.
    """
    stills, rows, features = Stills(motions[0]), [], []
    images, pixels, seconds = 0, 0, 0.0
    for motion in motions:
        videos: dict[str, list[Float[Tensor, "2 h w 3"]]] = defaultdict(list)
        for shot in shots(dataset, motion, views, partial(pose, motion), stride):
            figures = shot.figures()
            if still:
                figures |= stills.compare(shot, figures["psnr"])
            if perceptual is not None:
                figures |= perceptual.figures(shot)
            if clip is not None or video is not None:
                videos[shot.view].append(torch.stack([shot.image, shot.target]))
            rows.append((motion, shot.view, figures))
            images, pixels, seconds = images + 1, pixels + shot.alpha.numel(), seconds + shot.seconds
            each(shot)
        for view, pictures in videos.items():
            ours, theirs = torch.stack(pictures, 1)
            if clip is not None:
                rows.append((motion, view, clip.figures(ours, theirs)))
            if video is not None:
                features.append(torch.stack([video(ours), video(theirs)]))
    return Reconstruction(
        mean=means(row for *_, row in rows) | frechet(features),
        by_motion={name: means(row for motion, _, row in rows if motion == name) for name in motions},
        by_view={view.name: means(row for _, seen, row in rows if seen == view.name) for view in views},
        still=stills.figures(),
        images=images,
        pixels=pixels,
        seconds=seconds,
    )


def frechet(features: Sequence[Float[Tensor, "2 d"]]) -> dict[str, float]:
    """The distance of the renders' videos from the true ones, where there are two at least, and how many there are."""
    if len(features) < 2:
        return {}
    ours, theirs = torch.stack(list(features), 1)
    return {"fvd": frechet_distance(ours, theirs), "fvd_videos": len(features)}
