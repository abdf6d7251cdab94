"""The sections of an evaluation: what is measured of a space, one dictionary of figures each."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import combinations
from typing import Any

import torch

from dimo_ns.apps.evaluate.protocol import Protocol
from dimo_ns.apps.fit import fit_motion, observe
from dimo_ns.apps.interpolate import latent_path, smoothness
from dimo_ns.apps.sample import Samples, draw_samples, quality
from dimo_ns.core.types import Gaussians
from dimo_ns.data.dataset import Dataset
from dimo_ns.metrics.chamfer import chamfers
from dimo_ns.metrics.images import means
from dimo_ns.metrics.perceptual import Perceptual
from dimo_ns.metrics.pretrained import ClipSimilarity, VideoFeatures
from dimo_ns.metrics.reconstruction import reconstruct
from dimo_ns.metrics.tracks import Truth, track_errors
from dimo_ns.space.motion_space import Clip, MotionSpace


def reconstruction(
    space: MotionSpace,
    dataset: Dataset,
    names: list[str],
    perceptual: Perceptual | None = None,
    clip: ClipSimilarity | None = None,
    video: VideoFeatures | None = None,
) -> dict[str, Any]:
    """Renders of the motions of training against the held-out views, or the training views where there are no others:
    means over all images, by motion and by view; a true frame held still beside them; errors of the key points, and
    Chamfer distances of the Gaussians."""
    views = dataset.test_views or dataset.train_views

    @torch.no_grad()
    def pose(name: str, frame: int) -> Gaussians:
        return space.scene.pose(space.latents(name), torch.tensor([frame / dataset.frames], device=space.device))

    found = reconstruct(dataset, names, views, pose, perceptual=perceptual, clip=clip, video=video)
    times = torch.arange(dataset.frames) / dataset.frames
    moved = {name: space.clip(name, z, times).transforms for name, z in zip(names, space.latents(*names), strict=True)}
    errors = track_errors(dataset, space.scene.keypoints.detach(), moved)
    surfaces = {name: asdict(found) for name, found in chamfers(dataset, space.scene, moved).items()}
    return {
        "views": "held-out" if dataset.test_views else "training",
        **found.mean,
        **means(surfaces.values()),
        "still": found.still,
        "by_motion": found.by_motion,
        "by_view": found.by_view,
        "track_error_percent": {name: error.percent for name, error in errors.items()},
        "chamfer": surfaces,
    }


def held_out_motion(space: MotionSpace, dataset: Dataset, motion: str, protocol: Protocol) -> dict[str, Any]:
    """A motion that the scene never saw, fitted from all training views and from one, by a latent and adapted; and the
    training motion that is best in its place. Figures are over the held-out views."""
    times = torch.arange(dataset.frames) / dataset.frames
    in_its_place = [
        {"name": name} | clip_figures(space, dataset, motion, space.clip(name, z, times))
        for name, z in zip(space.names, space.mu, strict=True)
    ]
    found: dict[str, Any] = {"best_training_motion": max(in_its_place, key=lambda figures: figures["psnr"])}
    one = protocol.single_view or dataset.train_views[0].name
    for suffix, views in (("", None), ("_one_view", [one])):
        seen = observe(dataset, motion, views, space.device)
        for kind, adapt in (("latent", False), ("adapted", True)):
            if not adapt or protocol.adapt_rank:
                result = fit_motion(space, seen, adapt, protocol.adapt_rank, seed=protocol.seed)
                figures = clip_figures(space, dataset, motion, result.clip)
                found[kind + suffix] = figures | {"overlap": result.after.overlap, "seconds": result.seconds}
    return found


def clip_figures(space: MotionSpace, dataset: Dataset, motion: str, clip: Clip) -> dict[str, float]:
    """A clip against the true frames of a motion in the held-out views (the training views where there are no others),
    and against its true tracks, by key points and by surface."""
    views = dataset.test_views or dataset.train_views

    @torch.no_grad()
    def pose(_: str, frame: int) -> Gaussians:
        return space.scene.carry(clip.transforms[frame : frame + 1])

    figures = reconstruct(dataset, [motion], views, pose, still=False).mean
    errors = track_errors(dataset, clip.keypoints, {motion: clip.transforms})
    if not errors:
        return figures
    surface = chamfers(dataset, space.scene, {motion: clip.transforms})[motion]
    return figures | {"track_error_percent": errors[motion].percent} | asdict(surface)


def samples(space: MotionSpace, dataset: Dataset, protocol: Protocol) -> dict[str, Any]:
    """What samples of the fitted density are worth (apps.sample.quality), how far their strain is from that of the
    training motions, and how well they cover the held-out motions."""
    start = time.perf_counter()
    drawn = draw_samples(space, protocol.samples, protocol.seed, protocol.temperature)
    seconds = time.perf_counter() - start
    strain = drawn.strain
    truth, held_out = Truth.read(dataset), [m.name for m in dataset.held_out_motions if m.name not in space.names]
    return {
        **asdict(quality(space, drawn)),
        "seconds": seconds,
        "rejected_per_sample": statistics.mean(drawn.rejected),
        "strain_95_percent": float(strain.quantile(0.95)),
        "within_1.5_strain": float((strain <= 1.5).float().mean()),
        "distances": drawn.distances.tolist(),
        "strains": strain.tolist(),
        "matching_percent": {} if truth is None else {name: matching(space, truth, name, drawn) for name in held_out},
    }


def matching(space: MotionSpace, truth: Truth, motion: str, drawn: Samples) -> dict[str, float]:
    """How close the nearest sample, and the nearest training motion, come to a motion that was held out: error of its
    true surface points that ride on the key points, in % of the object's diameter."""

    def nearest(clips: list[Clip]) -> float:
        return min(truth.error(motion, clip.keypoints, clip.transforms).percent for clip in clips)

    return {"samples": nearest(drawn.clips), "training": nearest(space.clips())}


def interpolation(space: MotionSpace, steps: int) -> dict[str, Any]:
    """How even straight paths between every two training motions are: see apps.interpolate.Smoothness."""
    pairs = {
        f"{a} - {b}": asdict(smoothness(space, latent_path(space, space.latents(a, b), steps)))
        for a, b in combinations(space.names, 2)
    }
    worst = {name: max(pair[name] for pair in pairs.values()) for name in next(iter(pairs.values()))}
    return {"worst": worst, "mean": means(pairs.values()), "pairs": pairs}


@torch.no_grad()
def latency(space: MotionSpace, repeats: int) -> dict[str, float]:
    """Milliseconds, median of `repeats` calls: trajectories of one latent and of 64, one latent to all posed frames."""
    one = space.mu[:1]
    many = one.expand(64, -1) + 0.1 * torch.randn(64, one.shape[1], generator=torch.Generator().manual_seed(0)).to(one)

    def median(work: Callable[[], Any]) -> float:
        times = []
        for _ in range(repeats + 1):  # the first one is not counted
            start = time.perf_counter()
            work()
            if space.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(1000 * (time.perf_counter() - start))
        return statistics.median(times[1:])

    return {
        "trajectories": median(lambda: space.positions(one)),
        "trajectories_of_64": median(lambda: space.positions(many)),
        "posed_motion": median(lambda: space.scene.carry(space.motion(one)[0])),
    }
