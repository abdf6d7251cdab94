"""How good a trained model is: its renders against the true frames, its key points against the true tracks."""

from dataclasses import asdict
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE
from rich.progress import Progress

from dimo_ns.core.types import Gaussians, RigidTransforms
from dimo_ns.data.dataset import Dataset
from dimo_ns.metrics.chamfer import chamfers
from dimo_ns.metrics.images import Shot, means, save
from dimo_ns.metrics.perceptual import Perceptual
from dimo_ns.metrics.reconstruction import reconstruct
from dimo_ns.metrics.tracks import track_errors
from dimo_ns.training.datamanager import DimoDataManager
from dimo_ns.training.model import DimoModel

MAX_TRAIN_IMAGES = 600
"""More images of training views than this are thinned out, by whole frames."""


def evaluate_model(model: DimoModel, manager: DimoDataManager, output_path: Path | None = None) -> dict[str, Any]:
    """All figures of a model over its motions: plain numbers, texts, and dicts of them.

    At the top level the means over all frames of the held-out views (of the training views, where the dataset has no
    others); in `motions` and `views` by motion and view, in `train_views` over the training views, in `still` the two
    pictures held still. Into `output_path`: truth | render | error of every held-out image, as nerfstudio names them.
    Raises DimoError for frames that cannot be read.
    """
    dataset, names = manager.dataset, model.motion_names
    stride = train_stride(dataset, names)
    perceptual = Perceptual.find(model.lpips)
    numbers = count()

    def pose(motion: str, frame: int) -> Gaussians:
        return posed(model, names.index(motion), frame)

    with Progress(console=CONSOLE, transient=True, disable=not CONSOLE.is_interactive) as bar:
        task = bar.add_task("Evaluating", total=2 * len(names))

        def seen_in_training(shot: Shot) -> None:
            bar.update(task, completed=len(names) + names.index(shot.motion))

        def held_out(shot: Shot) -> None:
            bar.update(task, completed=names.index(shot.motion))
            if output_path is not None:
                error = (shot.image - shot.target).abs()
                save(torch.cat([shot.target, shot.image, error], 1), output_path, next(numbers))

        views = dataset.test_views or dataset.train_views
        tests = reconstruct(dataset, names, views, pose, perceptual=perceptual, each=held_out)
        trains = reconstruct(
            dataset, names, dataset.train_views, pose, stride=stride, still=False, each=seen_in_training
        )

    seconds = tests.seconds + trains.seconds
    figures: dict[str, Any] = dict(tests.mean)
    figures["num_rays_per_sec"] = (tests.pixels + trains.pixels) / seconds
    figures["fps"] = (tests.images + trains.images) / seconds
    if perceptual.missing:
        figures["skipped"] = "; ".join(f"{name}: {reason}" for name, reason in perceptual.missing.items())
    figures["images"] = tests.images
    figures["held_out"] = "views" if dataset.test_views else "nothing: the dataset has no test views"
    figures["still"] = tests.still
    figures["motions"], figures["views"] = tests.by_motion, tests.by_view
    figures["train_views"] = {**trains.mean, "images": trains.images, "every_nth_frame": stride}
    return figures | tracks(model, dataset) | describe(model, dataset)


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


@torch.no_grad()
def keypoint_transforms(model: DimoModel, motion_id: int) -> RigidTransforms | None:
    """Transforms [t, k, ...] of the key points in every frame of a motion, by what moves them in the present phase;
    None while no key points move."""
    frames = torch.arange(model.frame_count, device=model.device)
    motion_ids = torch.full_like(frames, motion_id)
    if model.mover.points is not model.scene.keypoints:
        return None
    return model.mover.transforms(model.scene.latents.mean(motion_ids), frames / model.frame_count, motion_ids)


def tracks(model: DimoModel, dataset: Dataset) -> dict[str, Any]:
    """The error of true surface points that ride on key points, and the Chamfer distances of the Gaussians from them,
    by motion; nothing without ground truth, or while no key points move."""
    moved = {name: keypoint_transforms(model, row) for row, name in enumerate(model.motion_names)}
    known = {name: transforms for name, transforms in moved.items() if transforms is not None}
    errors = track_errors(dataset, model.scene.keypoints, known)
    if not errors:
        return {}
    surfaces = {name: asdict(found) for name, found in chamfers(dataset, model.scene, known).items()}
    return {
        "track_error_percent": float(np.mean([error.percent for error in errors.values()])),
        "track_errors": {name: asdict(error) for name, error in errors.items()},
        **means(surfaces.values()),
        "chamfer": surfaces,
    }


def describe(model: DimoModel, dataset: Dataset) -> dict[str, Any]:
    """Sizes of the model, what it was trained on, and with what it was evaluated."""
    scene = model.scene
    return {
        "gaussians": len(scene.gaussians),
        "keypoints": len(scene.keypoints),
        "decoder": model.recipe.decoder,
        "latent_dim": scene.latents.mu.shape[1],
        "dataset_hash": dataset.hash,
        "versions": {name: version(name) for name in ("dimo-ns", "nerfstudio", "torch")},
    }
