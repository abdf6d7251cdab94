"""From motions to a dataset: videos, clips that are framed and examined, the other views, all as items of a store.

    run = Run(work, image, motions, videos, views, settings)
    run.clips()                # until every motion has a clip that can be used, or its tries are used up
    run.views()
    run.dataset(out)

Who makes videos and views is given: models (image_to_video.py, views.py), or anything else with the same few methods. A
clip that is flagged stays where it is, and another is made with another seed. Any number of processes may do the same
run at once; each takes what nobody else is at.
"""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dimo_ns.data.dataset import Dataset, Motion, orbit_view
from dimo_ns.data.format import load, write
from dimo_ns.data.images import video_header
from dimo_ns.errors import DimoError
from dimo_ns.generate import filter
from dimo_ns.generate.filter import Limits
from dimo_ns.generate.framing import RATIO, SOLID, Box, cut, object_box, pick, square_around
from dimo_ns.generate.items import Item, Items, digest, file_digest, write_json
from dimo_ns.generate.matting import Rgb, Rgba, named, plain
from dimo_ns.generate.multiview.chunks import chunk_starts, join
from dimo_ns.generate.prompts import NEGATIVE, MotionPrompt

VERSION = 1
"""Of what the stages compute: another one makes everything anew."""
OWNER = "run.json"
"""The file that says which object a folder of work is of."""
PATIENCE_S = 1.0
"""Between looks at what other processes are at."""


@runtime_checkable
class Progress(Protocol):
    """Is told of every step, and may raise KeyboardInterrupt: nothing is lost by it but the item at hand."""

    def say(self, text: str) -> None: ...
    def item(self, stage: str, name: str, done: int, total: int) -> None: ...
    def step(self, done: int, total: int) -> None: ...


class Quiet:
    def say(self, text: str) -> None: ...
    def item(self, stage: str, name: str, done: int, total: int) -> None: ...
    def step(self, done: int, total: int) -> None: ...


@runtime_checkable
class VideoMaker(Protocol):
    about: dict[str, Any]
    """All that its videos depend on, beside the arguments."""
    size: tuple[int, int]
    """Height and width of what it makes, and of the picture that it wants."""
    fps: float

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], prompt: str, negative: str, seed: int,
                 step: Callable[[int, int], None]) -> Rgb: ...  # fmt: skip
    def close(self) -> None: ...


@runtime_checkable
class Looker(Protocol):
    """Says how much a clip's object looks like the picture: 1 if it is the same."""

    about: dict[str, Any]

    def __call__(self, frames: Rgba) -> float: ...


@runtime_checkable
class ViewMaker(Protocol):
    about: dict[str, Any]
    azimuths_deg: tuple[float, ...]
    """The input's first."""
    window: int
    """Frames of a chunk."""

    def chunks(self, frames: Rgba, seed: int, finished: Sequence[np.ndarray],
               step: Callable[[int, int], None]) -> Iterator[UInt8[np.ndarray, "v t h w 3"]]: ...  # fmt: skip
    def close(self) -> None: ...


@dataclass(frozen=True)
class Settings:
    """What a user may want otherwise."""

    frames: int = 21
    size: int = 576
    matting: str = "plain"
    seed: int = 0
    retries: int = 2
    keep_flagged: bool = False
    negative: str = NEGATIVE
    limits: Limits = field(default_factory=Limits)

    def flags(self, figures: filter.Figures) -> dict[str, str]:
        """What is wrong with a clip. A model that knows objects needs no plain background."""
        plain_enough = self.limits.least_plain if self.matting == "plain" else 0.0
        return filter.flags(figures, replace(self.limits, least_plain=plain_enough))


@dataclass(frozen=True, eq=False)
class Clip:
    """One try at a motion."""

    item: Item
    seed: int
    figures: filter.Figures
    flags: dict[str, str]
    box: Box | None
    """The object's, in pixels of the video; None if it shows nothing."""
    times_s: tuple[float, ...]


class Run:
    """One object, its motions, and the folder in which they are worked on."""

    def __init__(
        self,
        work: Path,
        identity: str,
        motions: Sequence[MotionPrompt],
        settings: Settings,
        *,
        image: UInt8[np.ndarray, "h w 3"] | None = None,
        videos: VideoMaker | None = None,
        given: dict[str, Path] | None = None,
        views: ViewMaker | None = None,
        likeness: Looker | None = None,
        progress: Progress | None = None,
    ):
        """Videos come from a maker that starts with `image`, or they are `given` by the motions' names. `identity` says
        what object it is. Raises DimoError if the folder is that of another object."""
        self.items, self.motions, self.settings = Items(work), list(motions), settings
        self.identity, self.image, self.maker, self.given, self.viewer = identity, image, videos, given or {}, views
        self.likeness = likeness
        self.progress: Progress = progress or Quiet()
        self.matting = named(settings.matting)
        self.digests = {name: file_digest(path) for name, path in self.given.items()}
        check_settings(settings, views)
        check_identity(work, identity)

    # --- videos and clips -------------------------------------------------------------------------------------------

    @property
    def tries(self) -> int:
        return 1 if self.given else self.settings.retries + 1

    def seed(self, prompt: str, attempt: int) -> int:
        """Of 31 bits, the same for the same base seed and prompt whatever the other motions are."""
        text = f"{self.settings.seed}/{attempt}/{prompt}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) >> 1

    def video_item(self, motion: MotionPrompt, attempt: int) -> Item:
        if motion.name in self.given:
            return Item(f"given/{motion.name}", {"sha256": self.digests[motion.name]})
        assert self.maker is not None
        assert self.image is not None
        inputs = {
            "version": VERSION,
            "model": self.maker.about,
            "image": hashlib.sha256(self.image.tobytes()).hexdigest(),
            "prompt": motion.prompt,
            "negative": self.settings.negative,
            "seed": self.seed(motion.prompt, attempt),
        }
        return Item(f"videos/{motion.name}", inputs)

    def clip_item(self, motion: MotionPrompt, attempt: int) -> Item:
        s = self.settings
        inputs = {"version": VERSION, "video": self.video_item(motion, attempt).key, "frames": s.frames, "size": s.size}
        looked = {"likeness": self.likeness.about} if self.likeness else {}
        return Item(f"clips/{motion.name}", inputs | {"matting": s.matting} | looked)

    def clips(self) -> None:
        """Makes videos and clips. Raises DimoError when one cannot be made at all."""
        claim(self.items.root, self.identity)
        self._sweep("videos", self.motions, self._clip)
        if self.maker:
            self.maker.close()

    def _clip(self, motion: MotionPrompt) -> bool:
        """Whether there is nothing more to do; False if another process is at it."""
        for attempt in range(self.tries):
            if not self._video(motion, attempt):
                return False
            item = self.clip_item(motion, attempt)
            if not self.items.make(item, lambda folder, n=attempt: self._fill_clip(motion, n, folder)):
                return False
            wrong = self.read_clip(motion, attempt).flags
            if not wrong:
                return True
            then = ", trying another seed" if attempt + 1 < self.tries else ""
            self.progress.say(f"{motion.name}: {'; '.join(f'{k}: {why}' for k, why in wrong.items())}{then}")
        return True

    def _video(self, motion: MotionPrompt, attempt: int) -> bool:
        if motion.name in self.given:
            return True

        def fill(folder: Path) -> None:
            assert self.maker is not None
            assert self.image is not None
            arguments = self.image, motion.prompt, self.settings.negative, self.seed(motion.prompt, attempt)
            write_video(folder / "video.mp4", self.maker(*arguments, self.progress.step), self.maker.fps)

        return self.items.make(self.video_item(motion, attempt), fill)

    def video_path(self, motion: MotionPrompt, attempt: int) -> Path:
        if motion.name in self.given:
            return self.given[motion.name]
        return self.items.path(self.video_item(motion, attempt)) / "video.mp4"

    def _fill_clip(self, motion: MotionPrompt, attempt: int, folder: Path) -> None:
        rgb, times = read_frames(self.video_path(motion, attempt), self.settings.frames)
        rgba = self.matting(rgb)
        box = object_box(rgba[..., 3] > SOLID)
        if box:
            for i, frame in enumerate(cut(rgba, square_around(box, RATIO), self.settings.size)):
                Image.fromarray(frame).save(folder / f"{i:02d}.png", compress_level=1)
        figures = filter.examine(rgb, rgba[..., 3])
        if self.likeness:
            figures = replace(figures, likeness=self.likeness(rgba))
        write_json(folder / "clip.json", {"figures": filter.as_json(figures), "box": box, "times_s": times})

    def read_clip(self, motion: MotionPrompt, attempt: int) -> Clip:
        item = self.clip_item(motion, attempt)
        content = json.loads((self.items.path(item) / "clip.json").read_text())
        figures = filter.Figures(**content["figures"])
        box = tuple(content["box"]) if content["box"] else None
        flags = self.settings.flags(figures)
        return Clip(item, self.seed(motion.prompt, attempt), figures, flags, box, tuple(content["times_s"]))

    def tried(self, motion: MotionPrompt) -> list[Clip]:
        """The tries that there are."""
        made = (n for n in range(self.tries) if self.items.has(self.clip_item(motion, n)))
        return [self.read_clip(motion, n) for n in made]

    def chosen(self, motion: MotionPrompt) -> Clip | None:
        """The first try without flags; with `keep_flagged`, else the one with the fewest."""
        tried = self.tried(motion)
        clean = [clip for clip in tried if not clip.flags]
        usable = [clip for clip in tried if clip.box] if self.settings.keep_flagged else []
        return clean[0] if clean else min(usable, key=lambda clip: len(clip.flags), default=None)

    def kept(self) -> dict[MotionPrompt, Clip]:
        """What goes into the dataset. Raises DimoError if nothing does."""
        kept = {motion: clip for motion in self.motions if (clip := self.chosen(motion))}
        if not kept:
            raise DimoError(
                f"No clip can be used; see {self.items.root / 'clips.png'} for what is wrong with each. More tries: "
                "--retries; another background: --matting; as they are: --keep-flagged."
            )
        return kept

    def todo(self, chunks: int) -> tuple[int, int, int]:
        """How many videos, clips and chunks of views are to be made if every first try can be used. Without models at
        hand it is not known what is there, and all are counted."""
        if not self.maker and not self.given:
            return len(self.motions), len(self.motions), chunks * len(self.motions)
        videos = [m for m in self.motions if m.name not in self.given and not self.items.has(self.video_item(m, 0))]
        clips = [m for m in self.motions if not self.items.has(self.clip_item(m, 0))]
        views = chunks * len(clips) if self.viewer else 0
        for motion in self.motions:
            clip = None if motion in clips else self.chosen(motion) or self.read_clip(motion, 0)
            if clip and self.viewer:
                views += sum(not self.items.has(item) for item in self.chunk_items(clip))
        return len(videos), len(clips), views

    # --- views ------------------------------------------------------------------------------------------------------

    def chunk_items(self, clip: Clip) -> list[Item]:
        assert self.viewer is not None
        name = clip.item.name.removeprefix("clips/")
        inputs = {"version": VERSION, "clip": clip.item.key, "model": self.viewer.about, "seed": clip.seed}
        count = len(chunk_starts(self.settings.frames, self.viewer.window))
        return [Item(f"views/{name}/{i:02d}", inputs) for i in range(count)]

    def views(self) -> None:
        """Makes the other views of the clips that are kept. Raises DimoError."""
        if self.viewer:
            self._sweep(
                "views", list(self.kept().values()), self._views, lambda clip: clip.item.name.removeprefix("clips/")
            )
            self.viewer.close()

    def _views(self, clip: Clip) -> bool:
        assert self.viewer is not None
        items = self.chunk_items(clip)
        if all(self.items.has(item) for item in items):
            return True
        with self.items.lock(clip.item.name.replace("clips", "views")) as mine:
            if not mine:
                return False
            finished = []
            for item in items:
                if not self.items.has(item):
                    break
                finished.append(read_chunk(self.items.path(item)))
            chunks = self.viewer.chunks(self.framed(clip), clip.seed, finished, self.progress.step)
            for item, chunk in zip(items[len(finished) :], chunks, strict=True):
                self.items.make(item, lambda folder, chunk=chunk: write_chunk(folder, chunk))
        return True

    def framed(self, clip: Clip) -> Rgba:
        folder = self.items.path(clip.item)
        return np.stack([np.asarray(Image.open(folder / f"{i:02d}.png")) for i in range(len(clip.times_s))])

    # --- the dataset ------------------------------------------------------------------------------------------------

    def dataset(self, out: Path, name: str, prompt: str) -> Dataset:
        """Writes the dataset, unless it is there already. Raises DimoError if another one is."""
        kept = self.kept()
        key = self.dataset_key(kept)
        while True:
            with self.items.lock("dataset") as mine:
                if mine:
                    self.report()
                    for partial in out.parent.glob(f".{out.name}.partial-*"):  # of a process that was killed
                        shutil.rmtree(partial)
                    if not (out.exists() and not _is_empty(out)):
                        self._write(out, name, prompt, kept, key)
                    check_out(out, key)
                    self.items.tidy()
                    return load(out)
            time.sleep(PATIENCE_S)

    def dataset_key(self, kept: dict[MotionPrompt, Clip]) -> str:
        items = [[clip.item, *(self.chunk_items(clip) if self.viewer else [])] for clip in kept.values()]
        return digest([[item.key for item in group] for group in items])

    def _write(self, out: Path, name: str, prompt: str, kept: dict[MotionPrompt, Clip], key: str) -> None:
        azimuths = self.viewer.azimuths_deg if self.viewer else (0.0,)
        size = self.settings.size
        views = [orbit_view(f"view_{i:02d}", "train", azimuth, 0.0, size) for i, azimuth in enumerate(azimuths)]
        motions = [Motion(m.name, m.label, "train", False, clip.times_s) for m, clip in kept.items()]
        boxes = [clip.box for clip in kept.values() if clip.box]
        common = None if self.given else square_around(
            (min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes))
        )  # fmt: skip

        def frames() -> Iterator[tuple[str, str, int, np.ndarray]]:
            for done, (motion, clip) in enumerate(kept.items()):
                self.progress.item("dataset", motion.name, done, len(kept))
                clips = [self.framed(clip)]
                if self.viewer:
                    chunks = [read_chunk(self.items.path(item)) for item in self.chunk_items(clip)]
                    clips += [self._matted(view) for view in join(chunks, self.settings.frames)]
                for view, azimuth, rgba in zip(views, azimuths, clips, strict=True):
                    if common and clip.box:
                        rgba = cut(rgba, in_common(square_around(clip.box), common, azimuth - azimuths[0], size), size)
                    yield from ((motion.name, view.name, i, frame) for i, frame in enumerate(rgba))

        write(
            out, object=name, prompt=prompt, licence="", views=views, motions=motions, frames=frames(), fps=8.0,
            source=f"dimo generate {key}",
        )  # fmt: skip

    def _matted(self, view: Rgb) -> Rgba:
        """The views come over white; what follows an object through a video is not needed for them."""
        return plain(view) if self.settings.matting.startswith("sam2") else self.matting(view)

    # --- what there is ----------------------------------------------------------------------------------------------

    def report(self) -> None:
        """Writes manifest.json and the contact sheet clips.png into the folder."""
        rows, sheet = [], []
        for motion in self.motions:
            tries, chosen = self.tried(motion), self.chosen(motion)
            rows.append({
                "name": motion.name, "label": motion.label, "prompt": motion.prompt,
                "clip": self._relative(chosen.item) if chosen else None,
                "tries": [
                    {"clip": self._relative(clip.item), "seed": clip.seed, "flags": clip.flags,
                     "figures": filter.as_json(clip.figures)}
                    for clip in tries
                ],
                "views": [self._relative(i) for i in self.chunk_items(chosen)] if chosen and self.viewer else [],
            })  # fmt: skip
            for clip in tries:
                shown = self.framed(clip) if clip.box else None
                sheet.append((motion.label, "; ".join(f"{k}: {why}" for k, why in clip.flags.items()), shown))
        manifest = {"object": self.identity, "motions": rows}
        self.items.replace("manifest.json", lambda path: write_json(path, manifest))
        if sheet:
            self.items.replace("clips.png", lambda path: filter.sheet(sheet, path))

    def _relative(self, item: Item) -> str:
        return self.items.path(item).relative_to(self.items.root).as_posix()

    def _sweep(self, stage: str, tasks: Sequence[Any], do: Callable[[Any], bool],
               name: Callable[[Any], str] = lambda task: task.name) -> None:  # fmt: skip
        """Does all tasks; those that other processes are at are waited for."""
        left, done = list(tasks), 0
        while left:
            still = []
            for task in left:
                self.progress.item(stage, name(task), done, len(tasks))
                if do(task):
                    done += 1
                else:
                    still.append(task)
            if len(still) == len(left):
                self.progress.step(0, 1)
                time.sleep(PATIENCE_S)
            left = still


# --- files ----------------------------------------------------------------------------------------------------------


def check_settings(settings: Settings, views: ViewMaker | None) -> None:
    """Raises DimoError for what the later stages cannot take."""
    if settings.size < 64 or settings.size % 64:
        raise DimoError(f"The size is {settings.size} pixels; expected a multiple of 64, best 576.")
    if settings.retries < 0:
        raise DimoError(f"{settings.retries} retries were asked for; expected 0 or more.")
    if views:
        chunk_starts(settings.frames, views.window)


def check_identity(work: Path, identity: str) -> None:
    """Raises DimoError unless the folder is new or that of this object."""
    path = work / OWNER
    if work.exists() and not work.is_dir():
        raise DimoError(f"There is a file at {work}, where a folder is needed; choose another output.")
    try:
        found = json.loads(path.read_text())["object"] if path.exists() else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DimoError(f"{path} cannot be used ({error}); choose another output.") from error
    if found not in (None, identity):
        raise DimoError(f"The folder {work} is that of another object ({found}); choose another output.")


def claim(work: Path, identity: str) -> None:
    """Makes the folder this object's. Raises DimoError if it is another's, or cannot be written."""
    check_identity(work, identity)
    try:
        if not (work / OWNER).exists():
            Items(work).replace(OWNER, lambda partial: write_json(partial, {"object": identity}))
    except OSError as error:
        raise DimoError(f"{work} cannot be written ({error.strerror or error}); choose another output.") from error


def check_out(out: Path, key: str) -> None:
    """Raises DimoError if another dataset is there."""
    path = out / "motions.json"
    source = json.loads(path.read_text()).get("source") if path.is_file() else None
    if source != f"dimo generate {key}":
        raise DimoError(
            f"{out} is there already and has another content; move it away or choose another output (what was "
            "computed is kept beside it and used again)."
        )


def read_frames(path: Path, wanted: int) -> tuple[Rgb, list[float]]:
    """Frames picked evenly, and when each was taken, in seconds. Transparent ones are put over white."""
    header, count = video_header(path)
    chosen = set(pick(count, wanted))
    with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
        rate = float(container.streams.video[0].average_rate or 8)
        images = []
        for i, frame in enumerate(container.decode(video=0)):
            if i in chosen:
                rgba = frame.to_ndarray(format="rgba")
                share = rgba[..., 3:] / np.float32(255) if header.has_alpha else 1
                images.append((rgba[..., :3] * share + 255 * (1 - np.asarray(share))).round().astype(np.uint8))
    if len(images) != wanted:
        raise DimoError(f"The video {path} has fewer frames than it says; make it again.")
    return np.stack(images), [round(i / rate, 6) for i in sorted(chosen)]


def write_video(path: Path, frames: Rgb, fps: float) -> None:
    """H.264, hardly compressed, the same bytes for the same frames."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=round(fps), options={"crf": "8", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def write_chunk(folder: Path, chunk: UInt8[np.ndarray, "v t h w 3"]) -> None:
    """A picture for each view, its frames side by side."""
    for i, view in enumerate(chunk):
        Image.fromarray(np.concatenate(list(view), axis=1)).save(folder / f"view_{i + 1:02d}.png", compress_level=1)


def read_chunk(folder: Path) -> UInt8[np.ndarray, "v t h w 3"]:
    strips = [np.asarray(Image.open(path)) for path in sorted(folder.glob("view_*.png"))]
    return np.stack([np.stack(np.split(strip, strip.shape[1] // strip.shape[0], axis=1)) for strip in strips])


def in_common(square: Box, common: Box, azimuth_deg: float, size: int) -> Box:
    """Every clip is framed by itself, so the object is larger in some than in others. This is the square to cut out of
    a view's framed picture so that all motions show it at one scale, and at the place where their videos do: as if
    `common`, not `square`, had been cut out of the video. Seen from another azimuth, sideways shifts shrink by its
    cosine; what comes nearer or goes farther is left out of account."""
    scale = (square[2] - square[0]) / size
    side = (common[2] - common[0]) / scale
    x = ((common[0] + common[2]) - (square[0] + square[2])) / 2 / scale * math.cos(math.radians(azimuth_deg))
    y = ((common[1] + common[3]) - (square[1] + square[3])) / 2 / scale
    left, top = round(size / 2 + x - side / 2), round(size / 2 + y - side / 2)
    return left, top, left + round(side), top + round(side)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
