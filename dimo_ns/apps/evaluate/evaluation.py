"""All sections of an evaluation in one dictionary: every one is there, or named in `skipped` with the reason."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from dimo_ns.apps.evaluate import sections
from dimo_ns.apps.evaluate.protocol import Protocol
from dimo_ns.apps.language import Paraphrases, language_figures
from dimo_ns.data.dataset import Dataset
from dimo_ns.errors import DimoError
from dimo_ns.metrics.perceptual import Perceptual
from dimo_ns.metrics.pretrained import ClipSimilarity, VideoFeatures
from dimo_ns.space.motion_space import MotionSpace

Say = Callable[[str], object]
"""Told what is measured next."""


def evaluate_space(
    space: MotionSpace,
    dataset: Dataset,
    protocol: Protocol,
    paraphrases: Mapping[str, Paraphrases] | None = None,
    clip: ClipSimilarity | None = None,
    video: VideoFeatures | None = None,
    say: Say = lambda text: None,
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
    perceptual = Perceptual.find()
    skipped |= perceptual.missing
    if clip is None:
        skipped["clip"] = "no CLIP model was given"
    if video is None:
        skipped["fvd"] = "no VideoMAE model was given"

    say(f"Reconstruction of {len(trained)} motions")
    figures["reconstruction"] = sections.reconstruction(space, dataset, trained, perceptual, clip, video)
    held_out = [motion for motion in dataset.held_out_motions if motion.name not in space.names]
    if protocol.fit and held_out:
        figures["held_out"] = {}
        for motion in held_out:
            say(f"Fitting {motion.name}")
            figures["held_out"][motion.name] = sections.held_out_motion(space, dataset, motion.name, protocol)
    else:
        skipped["held_out"] = "the dataset has no held-out motion" if protocol.fit else "not in the protocol"
    if len(space.names) < 2:
        skipped["samples"] = skipped["interpolation"] = "the scene has one motion"
    else:
        if protocol.samples:
            say(f"Drawing {protocol.samples} samples")
            figures["samples"] = sections.samples(space, dataset, protocol)
        if protocol.interpolation_steps:
            say("Interpolating between every two motions")
            figures["interpolation"] = sections.interpolation(space, protocol.interpolation_steps)
    if paraphrases:
        say("Finding motions by words")
        figures["language"] = language_figures(space, paraphrases)
    else:
        skipped["language"] = "no paraphrases were given"
    if protocol.repeats:
        say("Measuring times")
        figures["latency_ms"] = sections.latency(space, protocol.repeats)
    return figures
