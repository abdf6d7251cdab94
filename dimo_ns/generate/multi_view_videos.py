"""Videos of every view that were taken with cameras that are known: matted, examined, and written as a dataset.

Nothing is cut out or made up: the cameras would no longer fit.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dimo_ns.data.dataset import Dataset
from dimo_ns.data.format import write
from dimo_ns.data.layouts import videos
from dimo_ns.data.video_files import read_frames
from dimo_ns.files.opening import resolved
from dimo_ns.generate import clip_checks
from dimo_ns.generate.makers import Progress
from dimo_ns.generate.matting import cut_out, named
from dimo_ns.generate.settings import Settings

HARMLESS = ("cut", "small", "large", "zoom")
"""Flags of the framing, which is the cameras' affair."""


def convert(source: Path, out: Path, settings: Settings, progress: Progress) -> Dataset:
    """Writes the dataset. What is flagged is said, and taken. Raises DimoError if it cannot be read or written."""
    described = videos.load(resolved(source), settings.frames)
    matting = named(settings.matting)
    for problem in described.problems:
        progress.say(f"problem: {problem}")

    def frames() -> Iterator[tuple[str, str, int, np.ndarray]]:
        for done, motion in enumerate(described.motions):
            progress.item("matting", motion.name, done, len(described.motions))
            for view in described.views:
                found = {f: described.sources.get((motion.name, view.name, f)) for f in range(described.frames)}
                sources = {f: source for f, source in found.items() if source}
                if not sources:
                    continue
                path = next(iter(sources.values())).path
                picked = [source.video_frame for source in sources.values() if source.video_frame is not None]
                rgb, rgba = cut_out(np.stack(list(read_frames(path, picked))), matting)
                for flag, reason in settings.flags(clip_checks.examine(rgb, rgba[..., 3])).items():
                    if flag not in HARMLESS:
                        progress.say(f"{motion.name}/{view.name}: {flag}: {reason}")
                yield from ((motion.name, view.name, f, frame) for f, frame in zip(sources, rgba, strict=True))

    return write(
        out, object=described.object, prompt=described.prompt, licence=described.licence, views=described.views,
        motions=described.motions, frames=frames(), fps=described.fps, test_frames=described.test_frames,
    )  # fmt: skip
