"""Where the videos of a generation come from: a model makes them, or a user gives them."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from dimo_ns.generate.clip_files import write_video
from dimo_ns.generate.items import Item, Items, file_digest
from dimo_ns.generate.makers import VideoMaker
from dimo_ns.generate.prompts import NEGATIVE, MotionPrompt

VERSION = 1
"""The version of what the stages compute: another one makes everything anew."""
FILE = "video.mp4"


@runtime_checkable
class VideoSource(Protocol):
    """Videos of motions."""

    varies: bool
    """Whether another seed gives another video."""
    begins_with_one_picture: bool
    """Whether all videos do, so that places and sizes in one can be compared with those in another."""

    def item(self, motion: MotionPrompt, seed: int) -> Item: ...
    def path(self, items: Items, motion: MotionPrompt, seed: int) -> Path: ...
    def has(self, items: Items, motion: MotionPrompt, seed: int) -> bool: ...
    def make(self, items: Items, motion: MotionPrompt, seed: int, step: Callable[[int, int], None]) -> bool: ...
    def close(self) -> None: ...


class MadeVideos:
    """Videos that a maker makes; all begin with the same picture."""

    varies = begins_with_one_picture = True

    def __init__(self, maker: VideoMaker, image: UInt8[np.ndarray, "h w 3"], negative: str = NEGATIVE):
        self.maker, self.image, self.negative = maker, image, negative

    def item(self, motion: MotionPrompt, seed: int) -> Item:
        inputs = {
            "version": VERSION,
            "model": self.maker.about,
            "image": hashlib.sha256(self.image.tobytes()).hexdigest(),
            "prompt": motion.prompt,
            "negative": self.negative,
            "seed": seed,
        }
        return Item(f"videos/{motion.name}", inputs)

    def path(self, items: Items, motion: MotionPrompt, seed: int) -> Path:
        return items.path(self.item(motion, seed)) / FILE

    def has(self, items: Items, motion: MotionPrompt, seed: int) -> bool:
        return items.has(self.item(motion, seed))

    def make(self, items: Items, motion: MotionPrompt, seed: int, step: Callable[[int, int], None]) -> bool:
        """Makes the video if it is not there. False if another process is at it."""

        def fill(folder: Path) -> None:
            frames = self.maker(self.image, motion.prompt, self.negative, seed, step)
            write_video(folder / FILE, frames, self.maker.fps)

        return items.make(self.item(motion, seed), fill)

    def close(self) -> None:
        self.maker.close()


class GivenVideos:
    """Videos that are there, one for each motion, by the motions' names."""

    varies = begins_with_one_picture = False

    def __init__(self, paths: Mapping[str, Path]):
        self.paths = dict(paths)
        self.digests = {name: file_digest(path) for name, path in self.paths.items()}

    def item(self, motion: MotionPrompt, seed: int) -> Item:
        return Item(f"given/{motion.name}", {"sha256": self.digests[motion.name]})

    def path(self, items: Items, motion: MotionPrompt, seed: int) -> Path:
        return self.paths[motion.name]

    def has(self, items: Items, motion: MotionPrompt, seed: int) -> bool:
        return True

    def make(self, items: Items, motion: MotionPrompt, seed: int, step: Callable[[int, int], None]) -> bool:
        return True

    def close(self) -> None: ...
