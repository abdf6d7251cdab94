"""Tries at motions: videos, and the clips that are framed and examined, until one can be used or the tries are used up.

A clip that is flagged stays where it is, and another is made with another seed.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from dimo_ns.generate import clip_checks
from dimo_ns.generate.clip_files import read_frames, read_pictures, write_pictures
from dimo_ns.generate.framing import RATIO, SOLID, Box, cut, object_box, square_around
from dimo_ns.generate.items import Item, Items, write_json
from dimo_ns.generate.makers import Looker, Progress
from dimo_ns.generate.matting import Rgba, cut_out, named
from dimo_ns.generate.prompts import MotionPrompt
from dimo_ns.generate.settings import Settings
from dimo_ns.generate.videos import VERSION, VideoSource

FILE = "clip.json"


@dataclass(frozen=True, eq=False)
class Try:
    """One try at a motion."""

    item: Item
    seed: int
    figures: clip_checks.Figures
    flags: dict[str, str]
    box: Box | None
    """The object's, in pixels of the video; None if it shows nothing."""
    times_s: tuple[float, ...]

    @property
    def name(self) -> str:
        """The motion's."""
        return self.item.name.removeprefix("clips/")


class Tries:
    """The tries that are in a store, and more of them."""

    def __init__(
        self, items: Items, settings: Settings, videos: VideoSource, likeness: Looker | None, progress: Progress
    ):
        self.items, self.settings, self.videos, self.likeness, self.progress = (
            items,
            settings,
            videos,
            likeness,
            progress,
        )
        self.matting = named(settings.matting)

    def __len__(self) -> int:
        """How many there are for a motion at most."""
        return self.settings.retries + 1 if self.videos.varies else 1

    def seed(self, motion: MotionPrompt, attempt: int) -> int:
        """A seed of 31 bits, the same for the same base seed and prompt whatever the other motions are."""
        text = f"{self.settings.seed}/{attempt}/{motion.prompt}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) >> 1

    def item(self, motion: MotionPrompt, attempt: int) -> Item:
        """The clip of a try."""
        inputs = {
            "version": VERSION,
            "video": self.videos.item(motion, self.seed(motion, attempt)).key,
            "frames": self.settings.frames,
            "size": self.settings.size,
            "matting": self.settings.matting,
            **({"likeness": self.likeness.about} if self.likeness else {}),
        }
        return Item(f"clips/{motion.name}", inputs)

    def make(self, motion: MotionPrompt) -> bool:
        """Makes what is missing until a clip is not flagged. False if another process is at it; else there is nothing
        more to do. Raises DimoError when one cannot be made at all."""
        for attempt in range(len(self)):
            if not self.videos.make(self.items, motion, self.seed(motion, attempt), self.progress.step):
                return False
            item = self.item(motion, attempt)
            if not self.items.make(item, lambda folder, n=attempt: self._fill(motion, n, folder)):
                return False
            wrong = self.read(motion, attempt).flags
            if not wrong:
                return True
            then = ", trying another seed" if attempt + 1 < len(self) else ""
            self.progress.say(f"{motion.name}: {'; '.join(f'{k}: {why}' for k, why in wrong.items())}{then}")
        return True

    def _fill(self, motion: MotionPrompt, attempt: int, folder: Path) -> None:
        video = self.videos.path(self.items, motion, self.seed(motion, attempt))
        frames, times = read_frames(video, self.settings.frames)
        rgb, rgba = cut_out(frames, self.matting)
        box = object_box(rgba[..., 3] > SOLID)
        if box:
            write_pictures(folder, cut(rgba, square_around(box, RATIO), self.settings.size))
        figures = clip_checks.examine(rgb, rgba[..., 3])
        if self.likeness:
            figures = replace(figures, likeness=self.likeness(rgba))
        write_json(folder / FILE, {"figures": clip_checks.as_json(figures), "box": box, "times_s": times})

    def read(self, motion: MotionPrompt, attempt: int) -> Try:
        """A try that is there."""
        item = self.item(motion, attempt)
        content = json.loads((self.items.path(item) / FILE).read_text())
        figures = clip_checks.Figures(**content["figures"])
        box = tuple(content["box"]) if content["box"] else None
        flags = self.settings.flags(figures)
        return Try(item, self.seed(motion, attempt), figures, flags, box, tuple(content["times_s"]))

    def of(self, motion: MotionPrompt) -> list[Try]:
        """The tries that there are."""
        made = (n for n in range(len(self)) if self.items.has(self.item(motion, n)))
        return [self.read(motion, n) for n in made]

    def chosen(self, motion: MotionPrompt) -> Try | None:
        """The first try without flags; with `keep_flagged`, else the one with the fewest."""
        tried = self.of(motion)
        clean = [clip for clip in tried if not clip.flags]
        usable = [clip for clip in tried if clip.box] if self.settings.keep_flagged else []
        return clean[0] if clean else min(usable, key=lambda clip: len(clip.flags), default=None)

    def pictures(self, clip: Try) -> Rgba:
        """The object through a clip, framed."""
        return read_pictures(self.items.path(clip.item), len(clip.times_s))
