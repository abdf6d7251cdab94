"""How good a trained model is: its renders against the true frames, its key points against the true tracks."""

from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE
from rich.progress import Progress

from dimo_ns.core.decoder import MLPDecoder
from dimo_ns.core.types import Gaussians, RigidTransforms
from dimo_ns.data.dataset import Dataset
from dimo_ns.metrics.images import Stills, means, save, shots
from dimo_ns.metrics.perceptual import Lpips
from dimo_ns.metrics.tracks import Truth
from dimo_ns.training.datamanager import DimoDataManager
from dimo_ns.training.model import DimoModel

MAX_TRAIN_IMAGES = 600
"""More images of training views than this are thinned out, by whole frames."""


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
            pose = partial(posed, model, motion_id)
            unseen = ((True, shot) for shot in shots(dataset, names[motion_id], test_views, pose))
            trained = ((False, s) for s in shots(dataset, names[motion_id], dataset.train_views, pose, stride))
            for held_out, shot in chain(unseen, trained):
                row = Row(shot.motion, shot.view, held_out, shot.figures())
                rows.append(row)
                seconds, pixels = seconds + shot.seconds, pixels + shot.alpha.numel()
                if not held_out:
                    continue
                row.figures |= stills.compare(shot, row.figures["psnr"])
                if lpips is not None:
                    row.figures["lpips"] = float(lpips(shot.image[None], shot.target[None]))
                if output_path is not None:
                    error = (shot.image - shot.target).abs()
                    save(torch.cat([shot.target, shot.image, error], 1), output_path, next(numbers))

    tests, trains = [r for r in rows if r.held_out], [r for r in rows if not r.held_out]
    figures: dict[str, Any] = means(r.figures for r in tests)
    figures["num_rays_per_sec"], figures["fps"] = pixels / seconds, len(rows) / seconds
    if lpips is None:
        figures["skipped"] = "lpips: torchvision's VGG-16 weights are not on this machine"
    figures["images"] = len(tests)
    figures["held_out"] = "views" if dataset.test_views else "nothing: the dataset has no test views"
    figures["still"] = stills.figures()
    figures["motions"] = {name: means(r.figures for r in tests if r.motion == name) for name in names}
    figures["views"] = {view.name: means(r.figures for r in tests if r.view == view.name) for view in test_views}
    figures["train_views"] = {**means(r.figures for r in trains), "images": len(trains), "every_nth_frame": stride}
    figures.update(tracks(model, dataset))
    return figures | describe(model, dataset)


def train_stride(dataset: Dataset, motions: list[str]) -> int:
    """Which frames of the training views are looked at: every n-th, so that they are at most `MAX_TRAIN_IMAGES`."""
    names = {view.name for view in dataset.train_views}
    images = sum(motion in motions and view in names for motion, view, _ in dataset.sources)
    return max(1, -(-images // MAX_TRAIN_IMAGES))


@torch.no_grad()
def posed(model: DimoModel, motion_id: int, frame: int) -> Gaussians:
    """The object in a frame of a motion, by what moves it in the present phase: batch axis 1."""
    motion_ids = torch.tensor([motion_id], device=model.device)
    times = torch.tensor([frame / model.frame_count], device=model.device)
    return model.mover.pose(model.scene.latents.mean(motion_ids), times, motion_ids)


def tracks(model: DimoModel, dataset: Dataset) -> dict[str, Any]:
    """The error of true surface points that ride on key points, by motion; nothing without ground truth."""
    truth = Truth.read(dataset)
    transforms = [keypoint_transforms(model, motion_id) for motion_id in range(len(model.motion_names))]
    if truth is None or any(moved is None for moved in transforms):
        return {}
    by_motion = {
        name: truth.error(name, model.mover.points, moved)
        for name, moved in zip(model.motion_names, transforms, strict=True)
        if moved is not None
    }
    return {
        "track_error_percent": float(np.mean([error["percent"] for error in by_motion.values()])),
        "track_errors": by_motion,
    }


@torch.no_grad()
def keypoint_transforms(model: DimoModel, motion_id: int) -> RigidTransforms | None:
    """Transforms [t, k, ...] of the key points in every frame of a motion; None where nothing moves."""
    frames = torch.arange(model.frame_count, device=model.device)
    motion_ids = torch.full_like(frames, motion_id)
    return model.mover.transforms(model.scene.latents.mean(motion_ids), frames / model.frame_count, motion_ids)


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
