"""How good a trained model is: its renders against the true frames, its key points against the true tracks.

Images are compared over white, at their own size, with the truth from exact straight alpha. PSNR is the mean over
images of the PSNR of each, at most 100 dB. "Foreground" means the pixels where the truth or the render has alpha above
1/255. Two pictures held still are measured beside the model, since a method that does not move at all already has a
respectable PSNR.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, count, groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.utils.rich_utils import CONSOLE
from PIL import Image
from rich.progress import Progress
from torch import Tensor

from dimo_ns.core import losses
from dimo_ns.core.decoder import MLPDecoder
from dimo_ns.core.geometry import nearest, quat_to_matrix, viewmats_from_c2w
from dimo_ns.core.types import RigidTransforms
from dimo_ns.data.dataset import Dataset, View
from dimo_ns.data.frames import read_clip
from dimo_ns.errors import DimoError
from dimo_ns.training.datamanager import DimoDataManager
from dimo_ns.training.model import DimoModel
from dimo_ns.training.perceptual import Lpips

MAX_PSNR = 100.0
MAX_TRAIN_IMAGES = 600
"""More images of training views than this are thinned out, by whole frames."""
VISIBLE = 1 / 255
SSIM_MARGIN = 5
"""What the valid region of SSIM leaves out on each side."""


@dataclass
class Shot:
    """A true image over white and the model's render of it."""

    motion: str
    view: str
    frame: int
    held_out: bool
    target: Float[Tensor, "h w 3"]
    mask: Float[Tensor, "h w 1"]
    image: Float[Tensor, "h w 3"]
    alpha: Float[Tensor, "h w 1"]
    seconds: float
    """Its share of posing and rendering."""


@dataclass
class Row:
    """The figures of one image."""

    motion: str
    view: str
    held_out: bool
    figures: dict[str, float]


def evaluate(model: DimoModel, manager: DimoDataManager, output_path: Path | None = None) -> dict[str, Any]:
    """All figures of a model over its motions: plain numbers, texts, and dicts of them.

    At the top level the means over all frames of the held-out views (of the training views, where the dataset has no
    others); in `motions` and `views` by motion and view, in `train_views` over the training views, in `still` the two
    pictures held still. Into `output_path`: truth | render | error of every held-out image, as nerfstudio names them.
    Raises DimoError for frames that cannot be read.
    """
    dataset, names = manager.dataset, model.motion_names
    test_views = dataset.test_views or dataset.train_views
    stride = train_stride(dataset, names)
    lpips = model.lpips or Lpips.find()
    rows: list[Row] = []
    stills, numbers = Stills(names[0]), count()
    seconds, pixels = 0.0, 0

    with Progress(console=CONSOLE, transient=True) as bar:
        for motion_id in bar.track(range(len(names)), description="Evaluating"):
            held_out = shots(model, dataset, motion_id, test_views, 1, held_out=True)
            for shot in chain(held_out, shots(model, dataset, motion_id, dataset.train_views, stride, held_out=False)):
                row = Row(
                    shot.motion, shot.view, shot.held_out, compare(shot.image, shot.alpha, shot.target, shot.mask)
                )
                rows.append(row)
                seconds, pixels = seconds + shot.seconds, pixels + shot.alpha.numel()
                if not shot.held_out:
                    continue
                row.figures |= stills.compare(shot, row.figures["psnr"])
                if lpips is not None:
                    row.figures["lpips"] = float(lpips(shot.image[None], shot.target[None]))
                if output_path is not None:
                    error = (shot.image - shot.target).abs()
                    save(torch.cat([shot.target, shot.image, error], 1), output_path, next(numbers))

    tests, trains = [r for r in rows if r.held_out], [r for r in rows if not r.held_out]
    figures: dict[str, Any] = means(tests)
    figures["num_rays_per_sec"], figures["fps"] = pixels / seconds, len(rows) / seconds
    if lpips is None:
        figures["skipped"] = "lpips: torchvision's VGG-16 weights are not on this machine"
    figures["images"] = len(tests)
    figures["held_out"] = "views" if dataset.test_views else "nothing: the dataset has no test views"
    figures["still"] = stills.figures()
    figures["motions"] = {name: means(r for r in tests if r.motion == name) for name in names}
    figures["views"] = {view.name: means(r for r in tests if r.view == view.name) for view in test_views}
    figures["train_views"] = {**means(trains), "images": len(trains), "every_nth_frame": stride}
    figures.update(tracks(model, dataset))
    return figures | describe(model, dataset)


# --- images -----------------------------------------------------------------------------------------------------------


def train_stride(dataset: Dataset, motions: list[str]) -> int:
    """Which frames of the training views are looked at: every n-th, so that they are at most `MAX_TRAIN_IMAGES`."""
    names = {view.name for view in dataset.train_views}
    images = sum(motion in motions and view in names for motion, view, _ in dataset.sources)
    return max(1, -(-images // MAX_TRAIN_IMAGES))


def shots(
    model: DimoModel, dataset: Dataset, motion_id: int, views: Sequence[View], stride: int, held_out: bool
) -> Iterator[Shot]:
    """Truth and render of a motion in these views, every `stride`-th frame, all views of a frame at once."""
    motion = model.motion_names[motion_id]
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
        renders = list(render_views(model, motion_id, frame, seen))
        seconds = (time.perf_counter() - start) / len(seen)
        for view, (image, alpha) in zip(seen, renders, strict=True):
            rgba = torch.from_numpy(truth[frame, view.name].astype(np.float32) / 255).to(image)
            mask = rgba[..., 3:]
            target = rgba[..., :3] * mask + 1 - mask
            yield Shot(motion, view.name, frame, held_out, target, mask, image, alpha, seconds)


@torch.no_grad()
def render_views(
    model: DimoModel, motion_id: int, frame: int, views: Sequence[View]
) -> Iterator[tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 1"]]]:
    """Image over white, in [0, 1], and alpha of each view, in their order; the object is posed once."""
    motion_ids = torch.tensor([motion_id], device=model.device)
    times = model.frame_times(torch.tensor([frame], device=model.device))
    posed = model.posed(model.scene.latents.mean(motion_ids), times, motion_ids)
    for (h, w), group in groupby(views, lambda view: (view.h, view.w)):
        same = list(group)
        c2w = torch.from_numpy(np.stack([view.c2w for view in same])).float().to(model.device)
        Ks = [[[v.fl_x, 0, v.cx], [0, v.fl_y, v.cy], [0, 0, 1]] for v in same]
        render, alpha, _ = model.render(
            posed, viewmats_from_c2w(c2w)[None], torch.tensor([Ks], dtype=torch.float32, device=model.device), (h, w)
        )
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        yield from zip((render[0, ..., :3] + 1 - alpha[0]).clamp(0, 1), alpha[0], strict=True)


def psnr(squared_error: Float[Tensor, "*any"]) -> float:
    """Of all these squared errors together, in dB."""
    return float(-10 * torch.log10(squared_error.mean().clamp(min=10 ** (-MAX_PSNR / 10))))


def compare(
    image: Float[Tensor, "h w 3"],
    alpha: Float[Tensor, "h w 1"],
    target: Float[Tensor, "h w 3"],
    mask: Float[Tensor, "h w 1"],
) -> dict[str, float]:
    """PSNR and SSIM of a render against the truth, of the whole image and of its foreground where there is any."""
    squared = (image - target).square()
    inside = ((alpha > VISIBLE) | (mask > VISIBLE)).squeeze(-1)
    similar = losses.ssim(image[None], target[None])[0]
    inner = inside[SSIM_MARGIN:-SSIM_MARGIN, SSIM_MARGIN:-SSIM_MARGIN]
    figures = {"psnr": psnr(squared), "ssim": float(similar.mean())}
    if inner.any():
        figures |= {"foreground_psnr": psnr(squared[inside]), "foreground_ssim": float(similar[inner].mean())}
    return figures


def means(rows: Iterable[Row]) -> dict[str, float]:
    """The mean of every figure over the images that have it."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.figures.items():
            values.setdefault(name, []).append(value)
    return {name: float(np.mean(column)) for name, column in values.items()}


def save(image: Float[Tensor, "h w 3"], folder: Path, number: int) -> None:
    """Under the name that nerfstudio gives to the images of an evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
    Image.fromarray(pixels).save(folder / f"eval_img_{number:04d}.png")


class Stills:
    """What holding a true picture still would score, beside the model's PSNR on the same images.

    `first_frame`: the first frame of the same motion and view, over the frames after it. `first_motion`: the first
    frame of the first motion, over the images that differ from it.
    """

    def __init__(self, first_motion: str):
        self._first_motion = first_motion
        self._pictures: dict[tuple[str, str], Tensor] = {}
        self._scores: dict[str, list[tuple[float, float]]] = {"first_frame": [], "first_motion": []}

    def compare(self, shot: Shot, ours: float) -> dict[str, float]:
        """Takes a shot and the model's PSNR on it; shots come in the order of motions, then frames. Returns
        `still_psnr`, of the first frame held still, for the frames after it."""
        first = (shot.motion, shot.view) not in self._pictures
        own = self._pictures.setdefault((shot.motion, shot.view), shot.target)
        other = self._pictures.get((self._first_motion, shot.view))
        if other is not None and not torch.equal(other, shot.target):
            self._scores["first_motion"].append((psnr((other - shot.target).square()), ours))
        if first:
            return {}
        self._scores["first_frame"].append((psnr((own - shot.target).square()), ours))
        return {"still_psnr": self._scores["first_frame"][-1][0]}

    def figures(self) -> dict[str, dict[str, float]]:
        return {
            name: {"psnr": float(np.mean(still)), "model_psnr": float(np.mean(ours)), "images": len(still)}
            for name, (still, ours) in ((n, tuple(zip(*s, strict=True))) for n, s in self._scores.items() if s)
        }


# --- tracks -----------------------------------------------------------------------------------------------------------


def tracks(model: DimoModel, dataset: Dataset) -> dict[str, Any]:
    """Mean error of true surface points that ride on key points, in % of the object's diameter, over the frames after
    the first; by motion, and beside it that of points that stay where they are. Nothing without ground truth."""
    truth = dataset.read_tracks()
    if not truth or model.moment.phase.motion not in ("decoder", "table"):
        return {}
    points = torch.from_numpy(truth["tracks"]).float()
    canonical = torch.from_numpy(truth["canonical"]).float() if "canonical" in truth else points[0, 0]
    percent = 100 / float(torch.cdist(canonical, canonical).max())
    order = [motion.name for motion in dataset.motions]
    by_motion = {}
    for motion_id, name in enumerate(model.motion_names):
        true = points[order.index(name)].to(model.device)
        ridden = ride(true[0], model.scene.keypoints, keypoint_transforms(model, motion_id))
        by_motion[name] = {
            "percent": percent * float((ridden - true)[1:].norm(dim=-1).mean()),
            "still_percent": percent * float((true[0] - true)[1:].norm(dim=-1).mean()),
        }
    return {
        "track_error_percent": float(np.mean([error["percent"] for error in by_motion.values()])),
        "track_errors": by_motion,
    }


@torch.no_grad()
def keypoint_transforms(model: DimoModel, motion_id: int) -> RigidTransforms:
    """Transforms [t, k, ...] of the key points in every frame of a motion."""
    frames = torch.arange(model.frame_count, device=model.device)
    motion_ids = torch.full_like(frames, motion_id)
    if model.moment.phase.motion == "table" and model.table is not None:
        return model.table(motion_ids, frames)
    return model.scene.trajectory(model.scene.latents.mean(motion_ids), model.frame_times(frames))


@torch.no_grad()
def ride(
    start: Float[Tensor, "p 3"], keypoints: Float[Tensor, "k 3"], transforms: RigidTransforms
) -> Float[Tensor, "t p 3"]:
    """Where points go that are fixed, at time 0, to the key point that is then nearest: by its rotation and place
    relative to time 0, so that they start exactly where they were put."""
    positions = keypoints + transforms.translations
    rotations = quat_to_matrix(transforms.quats)
    carrier = nearest(start, positions[0], 1)[1][:, 0]
    turn = rotations[:, carrier] @ rotations[0, carrier].mT
    lever = (start - positions[0, carrier])[..., None]
    return (turn @ lever).squeeze(-1) + positions[:, carrier]


# --- what was measured ------------------------------------------------------------------------------------------------


def describe(model: DimoModel, dataset: Dataset) -> dict[str, Any]:
    """Sizes of the model, what it was trained on, and with what it was evaluated."""
    scene = model.scene
    return {
        "gaussians": len(scene.gaussians),
        "keypoints": len(scene.keypoints),
        "decoder": "mlp" if isinstance(scene.decoder, MLPDecoder) else "low_rank",
        "latent_dim": scene.latents.mu.shape[1],
        "dataset_hash": dataset.hash,
        "versions": {name: version(name) for name in ("dimo-ns", "nerfstudio", "torch")},
    }
