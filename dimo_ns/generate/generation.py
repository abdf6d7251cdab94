"""A generation: from motions to a dataset. Videos, clips that are framed and examined, the other views, all as items
of a store.

    generation = Generation(work, identity, motions, settings, MadeVideos(maker, image), views)
    generation.make_clips()    # until every motion has a clip that can be used, or its tries are used up
    generation.make_views()
    generation.write_dataset(out, name, prompt)

Any number of processes may do the same generation at once; each takes what nobody else is at.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dimo_ns.data.dataset import Dataset
from dimo_ns.data.format import load
from dimo_ns.errors import DimoError
from dimo_ns.generate.assembly import assemble, check_same, content_key
from dimo_ns.generate.items import Items
from dimo_ns.generate.makers import Looker, Progress, Quiet, ViewMaker
from dimo_ns.generate.prompts import MotionPrompt
from dimo_ns.generate.report import write_report
from dimo_ns.generate.settings import Settings
from dimo_ns.generate.tries import Tries, Try
from dimo_ns.generate.videos import VideoSource
from dimo_ns.generate.view_chunks import ViewChunks
from dimo_ns.generate.work import check_identity, claim

PATIENCE_S = 1.0
"""Between looks at what other processes are at."""


class Generation:
    """One object, its motions, and the folder in which they are worked on."""

    def __init__(
        self,
        work: Path,
        identity: str,
        motions: Sequence[MotionPrompt],
        settings: Settings,
        videos: VideoSource,
        views: ViewMaker | None = None,
        likeness: Looker | None = None,
        progress: Progress | None = None,
    ):
        """`identity` says what object it is; without a maker of `views` the dataset shows one side. Raises DimoError if
        the folder is that of another object, or for settings that a later stage cannot take."""
        self.items, self.identity, self.motions, self.settings = Items(work), identity, list(motions), settings
        self.progress: Progress = progress or Quiet()
        settings.check()
        self.tries = Tries(self.items, settings, videos, likeness, self.progress)
        self.views = ViewChunks(self.items, settings.frames, views, self.progress) if views else None
        check_identity(work, identity)

    def make_clips(self) -> None:
        """Makes videos and clips. Raises DimoError when one cannot be made at all."""
        claim(self.items.root, self.identity)
        self._sweep("videos", self.motions, self.tries.make)
        self.tries.videos.close()

    def make_views(self) -> None:
        """Makes the other views of the clips that are kept. Raises DimoError."""
        views = self.views
        if views:
            kept = list(self.kept().values())
            self._sweep("views", kept, lambda clip: views.make(clip, partial(self.tries.pictures, clip)))
            views.maker.close()

    def kept(self) -> dict[MotionPrompt, Try]:
        """What goes into the dataset. Raises DimoError if nothing does."""
        kept = {motion: clip for motion in self.motions if (clip := self.tries.chosen(motion))}
        if not kept:
            raise DimoError(
                f"No clip can be used; see {self.items.root / 'clips.png'} for what is wrong with each. More tries: "
                "--retries; another background: --matting; as they are: --keep-flagged."
            )
        return kept

    def todo(self) -> tuple[int, int, int]:
        """How many videos, clips and chunks of views are to be made if every first try can be used."""
        tries, views = self.tries, self.views
        videos = [m for m in self.motions if not tries.videos.has(self.items, m, tries.seed(m, 0))]
        clips = [m for m in self.motions if not self.items.has(tries.item(m, 0))]
        chunks = views.count * len(clips) if views else 0
        for motion in self.motions:
            clip = None if motion in clips else tries.chosen(motion) or tries.read(motion, 0)
            if clip and views:
                chunks += sum(not self.items.has(item) for item in views.of(clip))
        return len(videos), len(clips), chunks

    def write_dataset(self, out: Path, name: str, prompt: str) -> Dataset:
        """Writes the dataset, unless it is there already. Raises DimoError if another one is."""
        kept = self.kept()
        key = content_key(kept, self.views)
        while True:
            with self.items.lock("dataset") as mine:
                if mine:
                    self.report()
                    for partial in out.parent.glob(f".{out.name}.partial-*"):  # of a process that was killed
                        shutil.rmtree(partial)
                    if not (out.is_dir() and any(out.iterdir())):
                        assemble(out, name, prompt, kept, self.tries, self.views, self.progress)
                    check_same(out, key)
                    self.items.tidy()
                    return load(out)
            time.sleep(PATIENCE_S)

    def report(self) -> None:
        """Writes manifest.json and the contact sheet clips.png into the folder."""
        write_report(self.items, self.identity, self.motions, self.tries, self.views)

    def _sweep(self, stage: str, tasks: Sequence[Any], do: Callable[[Any], bool]) -> None:
        """Does all tasks; those that other processes are at are waited for."""
        left, done = list(tasks), 0
        while left:
            still = []
            for task in left:
                self.progress.item(stage, task.name, done, len(tasks))
                if do(task):
                    done += 1
                else:
                    still.append(task)
            if len(still) == len(left):
                self.progress.step(0, 1)
                time.sleep(PATIENCE_S)
            left = still
