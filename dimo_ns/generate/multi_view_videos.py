"""Videos of every view that were taken with cameras that are known: matted, examined, and written as a dataset.

Nothing is cut out or made up: the cameras would no longer fit.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dimo_ns.data.dataset import Dataset
from dimo_ns.data.format import write
from dimo_ns.data.layouts import videos
from dimo_ns.files.opening import resolved
from dimo_ns.generate import clip_checks
from dimo_ns.generate.clip_files import read_frames
from dimo_ns.generate.makers import Progress
from dimo_ns.generate.matting import named
from dimo_ns.generate.settings import Settings

HARMLESS = ("cut", "small", "large", "zoom")
"""Flags of the framing, which is the cameras' affair."""


def convert(source: Path, out: Path, settings: Settings, progress: Progress) -> Dataset:
    """Writes the dataset. What is flagged is said, and taken. Raises DimoError if it cannot be read or written."""
    described = videos.load(resolved(source), settings.frames)
    matting = named(settings.matting)

    def frames() -> Iterator[tuple[str, str, int, np.ndarray]]:
        for done, motion in enumerate(described.motions):
            progress.item("matting", motion.name, done, len(described.motions))
            for view in described.views:
                sources = [described.sources.get((motion.name, view.name, f)) for f in range(described.frames)]
                if None in sources or not sources[0]:
                    continue
                rgb, _ = read_frames(sources[0].path, described.frames)
                rgba = matting(rgb)
                for flag, reason in settings.flags(clip_checks.examine(rgb, rgba[..., 3])).items():
                    if flag not in HARMLESS:
                        progress.say(f"{motion.name}/{view.name}: {flag}: {reason}")
                yield from ((motion.name, view.name, i, frame) for i, frame in enumerate(rgba))

    return write(
        out, object=described.object, prompt=described.prompt, licence=described.licence, views=described.views,
        motions=described.motions, frames=frames(), fps=described.fps, test_frames=described.test_frames,
    )  # fmt: skip
