"""Reconstructing a motion that the scene was not trained on, and how good that is."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.apps.fit.adapt import Tracker
from dimo_ns.apps.fit.align import Similarity
from dimo_ns.apps.fit.align import align as find_similarity
from dimo_ns.apps.fit.change import Change, fold, project
from dimo_ns.apps.fit.latent import fit_latent
from dimo_ns.apps.fit.observations import FULL, MIDDLE, Observations, Say
from dimo_ns.apps.fit.scores import Seen, compare_seen, scores
from dimo_ns.core.decoder import LowRankDecoder
from dimo_ns.core.types import RigidTransforms
from dimo_ns.data.dataset import Dataset, Motion, View
from dimo_ns.errors import MOST_SEED, check_number
from dimo_ns.metrics.images import means, psnr, shots
from dimo_ns.metrics.tracks import track_errors
from dimo_ns.space.motion_space import Clip, MotionSpace

MOST_RANK = 1024
LEAST_OVERLAP = 0.5
"""How much silhouettes must overlap under the latent alone for a fit to be believed: a change bends the object into any
shape."""


@dataclass(frozen=True)
class Unseen:
    """How well other views of the same motion are shown: means of `metrics.images.compare` over all frames."""

    best_training: str
    """The training motion that is best in the motion's place."""
    training_psnr: dict[str, float]
    """Every training motion in its place, in dB."""
    before: dict[str, float]
    """The best training motion; with ground truth, `track_percent` too."""
    after: dict[str, float]
    """The fit."""


@dataclass(eq=False)
class Fit:
    """A motion as the scene can show it."""

    latent: Float[Tensor, " d"]
    clip: Clip
    """In the scene's own frame."""
    best_training: str
    """The training motion that comes closest, shown in the motion's place."""
    before: Seen
    """That one."""
    after: Seen
    """The fit."""
    seconds: float
    seed: int
    curves: dict[str, list[float]]
    """Losses of every step, by stage."""
    change: Change | None = None
    """What was added to the decoder."""
    alignment: Similarity | None = None
    """From the scene's frame to the video's."""
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """What fit.json says of it."""
        change, similarity = self.change, self.alignment
        return {
            "motion": self.clip.name,
            "seed": self.seed,
            "seconds": self.seconds,
            "seen_views": {
                "best_training": self.best_training,
                "before": asdict(self.before),
                "after": asdict(self.after),
            },
            "latent": self.latent.tolist(),
            "change": None if change is None else {"rank": change.rank, "parameters": change.parameters},
            "alignment": None
            if similarity is None
            else {
                "scale": similarity.scale,
                "quat_wxyz": similarity.quat.tolist(),
                "translation": similarity.translation.tolist(),
            },
            "warnings": self.warnings,
            "curves": self.curves,
        }

    def adapted(self, space: MotionSpace) -> MotionSpace | None:
        """The space with this motion as one more of its own; None where nothing was changed, or where the decoder
        cannot hold it (the MLP's size is fixed)."""
        if self.change is None or not isinstance(space.scene.decoder, LowRankDecoder):
            return None
        name = self.clip.name
        while name in space.names:
            name += "_fitted"
        times = tuple(frame / space.fps for frame in range(space.frames))
        added = Motion(name, name.replace("_", " "), "train", self.clip.loop, times)
        return fold(space, self.latent, self.change, added)


def fit_motion(
    space: MotionSpace,
    observations: Observations,
    adapt: bool = False,
    rank: int = 16,
    align: bool = False,
    seed: int = 0,
    progress: Say | None = None,
) -> Fit:
    """The motion that was seen, by one latent for all frames; with `adapt` by that and a change of the decoder of this
    rank (0: none). `align` first finds place, turn and size of the object. Nothing of the scene changes.

    Raises DimoError for a rank or a seed out of bounds.
    """
    check_number("The rank of a change", rank, 0, MOST_RANK)
    check_number("The seed", seed, 0, MOST_SEED)
    say, start = progress or (lambda *_: None), time.perf_counter()
    wanted = {name: p.requires_grad for name, p in space.scene.named_parameters()}
    space.scene.requires_grad_(False)
    try:
        similarity = find_similarity(space, observations, say) if align else None
        seen = observations
        if similarity is not None:
            seen = replace(seen, cameras=similarity.cameras(seen.cameras))
        best = int(scores(space, space.mu, seen.at(MIDDLE).some_views(4)).argmax())
        latent, curves = fit_latent(space, seen, seed, say)
        plain, change = space.motion(latent[None], seen.times)[0], None
        transforms = plain
        if adapt and rank:
            tracker = Tracker(space, seen, seed)
            tracker.track(latent, say)
            tracker.refine(say)
            curves["change"] = tracker.curve
            change, transforms = project(space, latent, seen.times, tracker.result(), rank)
    finally:
        for name, p in space.scene.named_parameters():
            p.requires_grad_(wanted[name])
    transforms = RigidTransforms(transforms.translations.detach(), transforms.quats.detach())
    latents = latent.expand(len(seen.times), -1) if change is None else None
    clip = Clip(seen.motion, space.scene.keypoints.detach(), transforms, seen.fps, latents, seen.loop)
    full = seen.at(FULL)
    before = compare_seen(space, space.motion(space.mu[best : best + 1], seen.times)[0], full)
    after = compare_seen(space, transforms, full)
    overlap = after.overlap if change is None else compare_seen(space, plain, full).overlap
    result = Fit(
        latent, clip, space.names[best], before, after, time.perf_counter() - start, seed, curves, change, similarity
    )
    if overlap < LEAST_OVERLAP:
        result.warnings.append(
            f"No latent comes near what is seen of '{seen.motion}': silhouettes overlap by {overlap:.0%}, and the fit "
            f"has {after.psnr:.1f} dB; is this the object of the scene? Try --align if it stands elsewhere."
        )
    return result


# --- against what was not seen ----------------------------------------------------------------------------------------


def measure(space: MotionSpace, dataset: Dataset, found: Fit, views: Sequence[View]) -> Unseen:
    """Compares a fit, and the training motions in its place, with these views of the dataset that it was seen in."""
    motion, similarity = found.clip.name, found.alignment
    cameras = [similarity.view(view) for view in views] if similarity else list(views)
    times = torch.arange(dataset.frames, device=space.device) / dataset.frames

    def render(transforms: RigidTransforms):
        return shots(dataset, motion, cameras, lambda frame: space.scene.carry(transforms[frame : frame + 1]))

    with torch.no_grad():
        training = {name: space.motion(space.latents(name), times)[0] for name in space.names}
        decibels = {
            name: means({"psnr": psnr((shot.image - shot.target).square())} for shot in render(transforms))["psnr"]
            for name, transforms in training.items()
        }
        best = max(decibels, key=lambda name: decibels[name])

        def figures(transforms: RigidTransforms) -> dict[str, float]:
            errors = track_errors(dataset, found.clip.keypoints, {motion: transforms}) if similarity is None else {}
            measured = means(shot.figures() for shot in render(transforms))
            return measured | ({"track_percent": errors[motion].percent} if errors else {})

        return Unseen(best, decibels, figures(training[best]), figures(found.clip.transforms))
