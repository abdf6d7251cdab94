"""How good a space of motions is at everything that is made from it: one dictionary of figures, one page of plots.

A protocol (configs/evaluate/*.yaml) says how much of it is measured. Every section is there, or named in `skipped` with
the reason.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from dimo_ns.apps.fit import fit, observe
from dimo_ns.apps.interpolate import interpolate, smoothness
from dimo_ns.apps.language import Paraphrases, language_figures
from dimo_ns.apps.sample import Samples, quality, sample
from dimo_ns.core.types import Gaussians
from dimo_ns.data.dataset import Dataset
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import Fields
from dimo_ns.metrics.images import Stills, means, shots
from dimo_ns.metrics.perceptual import Lpips
from dimo_ns.metrics.pretrained import ClipSimilarity, VideoFeatures, frechet_distance
from dimo_ns.metrics.tracks import Truth
from dimo_ns.space.motion_space import Clip, MotionSpace

Say = Callable[[str], None]
MAX_PROTOCOL_BYTES = 2**16


@dataclass(frozen=True)
class Protocol:
    """What is measured, and how much of it."""

    seed: int = 0
    samples: int = 256
    """Drawn from the fitted density; 0: none."""
    temperature: float = 1.0
    interpolation_steps: int = 20
    """Between every two training motions; 0: none."""
    fit: bool = True
    """Whether held-out motions are fitted: from all training views, and from one."""
    adapt_rank: int = 16
    single_view: str = ""
    """The view of the fits from one view; empty: the first training view."""
    repeats: int = 20
    """Of every time that is measured; 0: none."""

    @staticmethod
    def read(path: Path) -> "Protocol":
        """From YAML. Raises DimoError."""
        try:
            with path.open("rb") as file:
                text = file.read(MAX_PROTOCOL_BYTES)
            values = yaml.safe_load(text)
        except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise DimoError(f"The protocol {path} cannot be read ({error}).") from error
        if not isinstance(values, dict):
            raise DimoError(f"The protocol {path} holds no fields; expected lines like 'samples: 256'.")
        known = {field.name: field.default for field in fields(Protocol)}
        unknown = [name for name in values if name not in known]
        if unknown:
            raise DimoError(f"The protocol {path} has '{unknown[0]}'; the fields are {', '.join(known)}.")
        given = Fields(values, f"The protocol {path}")
        return Protocol(
            seed=given.integer("seed", 0, 2**31, 0),
            samples=given.integer("samples", 0, 100_000, 256),
            temperature=given.number("temperature", 1.0),
            interpolation_steps=given.integer("interpolation_steps", 0, 10_000, 20),
            fit=given.flag("fit", True),
            adapt_rank=given.integer("adapt_rank", 0, 1024, 16),
            single_view=given.text("single_view", ""),
            repeats=given.integer("repeats", 0, 10_000, 20),
        )


def evaluate(
    space: MotionSpace,
    dataset: Dataset,
    protocol: Protocol,
    paraphrases: Mapping[str, Paraphrases] | None = None,
    clip: ClipSimilarity | None = None,
    video: VideoFeatures | None = None,
    say: Say = print,
) -> dict[str, Any]:
    """All figures of a space, measured on its dataset (docs/space.md says what each means); those in words, of CLIP and
    of VideoMAE only if these are given. Raises DimoError if no motion of the space is in the dataset."""
    known = {motion.name for motion in dataset.motions}
    trained = [name for name in space.names if name in known]
    if not trained:
        raise DimoError(
            f"None of the scene's motions ({', '.join(space.names)}) is in {dataset.root}; give the dataset that the "
            "scene was trained on."
        )
    figures: dict[str, Any] = {
        "object": space.info.object,
        "dataset_hash": dataset.hash,
        "trained_on_this_dataset": space.info.dataset_hash == dataset.hash,
        "protocol": asdict(protocol),
        "skipped": {},
    }
    skipped = figures["skipped"]
    lpips = Lpips.find()
    if lpips is None:
        skipped["lpips"] = "torchvision's VGG-16 weights are not on this machine"
    if clip is None:
        skipped["clip"] = "no CLIP model was given"
    if video is None:
        skipped["fvd"] = "no VideoMAE model was given"

    say(f"Reconstruction of {len(trained)} motions")
    figures["reconstruction"] = reconstruction(space, dataset, trained, lpips, clip, video)
    held_out = [motion for motion in dataset.held_out_motions if motion.name not in space.names]
    if protocol.fit and held_out:
        figures["held_out"] = {}
        for motion in held_out:
            say(f"Fitting {motion.name}")
            figures["held_out"][motion.name] = held_out_motion(space, dataset, motion.name, protocol)
    else:
        skipped["held_out"] = "the dataset has no held-out motion" if protocol.fit else "not in the protocol"
    if len(space.names) < 2:
        skipped["samples"] = skipped["interpolation"] = "the scene has one motion"
    else:
        if protocol.samples:
            say(f"Drawing {protocol.samples} samples")
            figures["samples"] = samples(space, dataset, protocol)
        if protocol.interpolation_steps:
            say("Interpolating between every two motions")
            figures["interpolation"] = interpolation(space, protocol.interpolation_steps)
    if paraphrases:
        say("Finding motions by words")
        figures["language"] = language_figures(space, paraphrases)
    else:
        skipped["language"] = "no paraphrases were given"
    if protocol.repeats:
        say("Measuring times")
        figures["latency_ms"] = latency(space, protocol.repeats)
    return figures


def reconstruction(
    space: MotionSpace,
    dataset: Dataset,
    names: list[str],
    lpips: Lpips | None = None,
    clip: ClipSimilarity | None = None,
    video: VideoFeatures | None = None,
) -> dict[str, Any]:
    """Renders of the motions of training against the held-out views, or the training views where there are no others:
    means over all images, by motion and by view; a true frame held still beside them; errors of the key points."""
    views = dataset.test_views or dataset.train_views
    stills, rows, features = Stills(names[0]), [], []
    for name in names:
        z, videos = space.latents(name), defaultdict(list)
        for shot in shots(dataset, name, views, lambda frame, z=z: posed(space, z, frame / dataset.frames)):
            row = shot.figures()
            row |= stills.compare(shot, row["psnr"])
            if lpips is not None:
                row["lpips"] = float(lpips(shot.image[None], shot.target[None]))
            if clip is not None or video is not None:
                videos[shot.view].append(torch.stack([shot.image, shot.target]))
            rows.append((name, shot.view, row))
        for view, pictures in videos.items():
            ours, theirs = torch.stack(pictures, 1)
            if clip is not None:
                rows.append((name, view, clip.figures(ours, theirs)))
            if video is not None:
                features.append(torch.stack([video(ours), video(theirs)]))
    truth = Truth.read(dataset)
    errors = {}
    if truth is not None:
        for ridden in space.clips(names):
            errors[ridden.name] = truth.error(ridden.name, ridden.keypoints, ridden.transforms)["percent"]
    return {
        "views": "held-out" if dataset.test_views else "training",
        **means(row for *_, row in rows),
        **frechet(features),
        "still": stills.figures(),
        "by_motion": {name: means(row for motion, _, row in rows if motion == name) for name in names},
        "by_view": {view.name: means(row for _, seen, row in rows if seen == view.name) for view in views},
        "track_error_percent": errors,
    }


def frechet(features: list[Float[Tensor, "2 d"]]) -> dict[str, float]:
    """The distance of the renders' videos from the true ones, where there are two at least, and how many there are."""
    if len(features) < 2:
        return {}
    ours, theirs = torch.stack(features, 1)
    return {"fvd": frechet_distance(ours, theirs), "fvd_videos": len(features)}


@torch.no_grad()
def posed(space: MotionSpace, z: Float[Tensor, "1 d"], t: float) -> Gaussians:
    """The object at time t under one latent: batch axis 1."""
    return space.scene.pose(z, torch.tensor([t], device=space.device))


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
        seen = observe(dataset, motion, views)
        for kind, adapt in (("latent", False), ("adapted", True)):
            if not adapt or protocol.adapt_rank:
                result = fit(space, seen, adapt, protocol.adapt_rank, seed=protocol.seed)
                figures = clip_figures(space, dataset, motion, result.clip)
                found[kind + suffix] = figures | {"overlap": result.after["overlap"], "seconds": result.seconds}
    return found


def clip_figures(space: MotionSpace, dataset: Dataset, motion: str, clip: Clip) -> dict[str, float]:
    """A clip against the true frames of a motion in the held-out views (the training views where there are no others),
    and against its true tracks."""
    views = dataset.test_views or dataset.train_views

    @torch.no_grad()
    def pose(frame: int) -> Gaussians:
        return space.scene.carry(clip.transforms[frame : frame + 1])

    figures = means(shot.figures() for shot in shots(dataset, motion, views, pose))
    truth = Truth.read(dataset)
    if truth is not None:
        figures["track_error_percent"] = truth.error(motion, clip.keypoints, clip.transforms)["percent"]
    return figures


def samples(space: MotionSpace, dataset: Dataset, protocol: Protocol) -> dict[str, Any]:
    """What samples of the fitted density are worth (apps.sample.quality), how far their strain is from that of the
    training motions, and how well they cover the held-out motions."""
    start = time.perf_counter()
    drawn = sample(space, protocol.samples, protocol.seed, protocol.temperature)
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
        return min(truth.error(motion, clip.keypoints, clip.transforms)["percent"] for clip in clips)

    return {"samples": nearest(drawn.clips), "training": nearest(space.clips())}


def interpolation(space: MotionSpace, steps: int) -> dict[str, Any]:
    """Of straight paths between every two training motions: see apps.interpolate.Smoothness."""
    pairs = {
        f"{a} - {b}": asdict(smoothness(space, interpolate(space, space.latents(a, b), steps)))
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
