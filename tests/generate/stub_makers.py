"""Makers without models: videos of a disc, views that are the same disc in other colours; every call is logged."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dimo_ns.generate.generation import Generation
from dimo_ns.generate.makers import VideoMaker
from dimo_ns.generate.prompts import MotionPrompt, build
from dimo_ns.generate.settings import Settings
from dimo_ns.generate.videos import MadeVideos
from tests.generate.clips import clip

FRAMES, SIZE = 7, 64
SETTINGS = Settings(frames=FRAMES, size=SIZE, retries=2)


class StubVideos:
    """The motion's prompt names the fault of its first `bad` tries."""

    size = (SIZE, SIZE)
    fps = 10.0

    def __init__(self, log: Path | None = None, bad: int = 0, pause_s: float = 0.0):
        self.about = {"name": "stub"}
        self.log, self.bad, self.pause_s, self.calls, self.closed = log, bad, pause_s, [], 0

    def __call__(self, image, prompt, negative, seed, step):
        earlier = sum(call[0] == prompt for call in self.calls)
        self.calls.append((prompt, seed))
        note(self.log, f"videos/{prompt}")
        for i in range(3):
            time.sleep(self.pause_s / 3)
            step(i + 1, 3)
        fault = prompt.split()[0] if earlier < self.bad else "none"
        frames = clip(fault, frames=9, side=SIZE)
        return np.where(frames < 250, np.maximum(frames, 1) // 2 + seed % 100, frames).astype(np.uint8)

    def close(self):
        self.closed += 1


class StubViews:
    azimuths_deg = (0.0, 90.0, 180.0)
    window = 4

    def __init__(self, log: Path | None = None, pause_s: float = 0.0):
        self.about = {"name": "stub views"}
        self.log, self.pause_s, self.calls = log, pause_s, []

    def chunks(self, frames, seed, finished, step) -> Iterator[np.ndarray]:
        starts = [0, 3]
        for i in range(len(finished), len(starts)):
            self.calls.append((seed, i))
            note(self.log, f"views/{seed}/{i}")
            time.sleep(self.pause_s)
            step(i + 1, len(starts))
            share = frames[starts[i] :][:4, ..., 3:] / 255
            rgb = (frames[starts[i] :][:4, ..., :3] * share + 255 * (1 - share)).round().astype(np.uint8)
            yield np.stack([rgb, rgb[..., ::-1]])

    def close(self): ...


def note(log: Path | None, text: str) -> None:
    if log:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, (text + "\n").encode())
        os.close(descriptor)


def motions(count: int) -> list[MotionPrompt]:
    return build([{"label": f"move {i}", "prompt": f"still number {i}"} for i in range(count)], "", "here")


def stub_generation(
    work: Path, count: int = 3, settings: Settings = SETTINGS, videos: VideoMaker | None = None, **more
) -> Any:
    """A generation, of any type so that tests may look into its stubs."""
    made = MadeVideos(videos or StubVideos(), np.zeros((SIZE, SIZE, 3), np.uint8))
    return Generation(work, "a stub", motions(count), settings, made, **{"views": StubViews()} | more)


def do_all(generation: Generation, out: Path):
    generation.make_clips()
    generation.make_views()
    return generation.write_dataset(out, "stub", "a stub")


def tree(*roots: Path) -> dict[str, bytes]:
    """Every file under these folders, by name."""
    return {str(p.relative_to(r.parent)): p.read_bytes() for r in roots for p in sorted(r.rglob("*")) if p.is_file()}
