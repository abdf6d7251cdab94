"""Who makes videos and views, who compares, and who is told of it: models (image_to_video.py, views.py, likeness.py),
or anything else with the same few methods."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from dimo_ns.generate.matting import Rgb, Rgba


@runtime_checkable
class Progress(Protocol):
    """Is told of every step, and may raise KeyboardInterrupt: nothing is lost by it but the item at hand."""

    def say(self, text: str) -> None: ...
    def item(self, stage: str, name: str, done: int, total: int) -> None: ...
    def step(self, done: int, total: int) -> None: ...


class Quiet:
    """Progress that nobody looks at."""

    def say(self, text: str) -> None: ...
    def item(self, stage: str, name: str, done: int, total: int) -> None: ...
    def step(self, done: int, total: int) -> None: ...


@runtime_checkable
class VideoMaker(Protocol):
    """Makes videos that begin with a picture and do what a prompt says."""

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
    """Makes the other views of a clip, a chunk of frames after the other."""

    about: dict[str, Any]
    azimuths_deg: tuple[float, ...]
    """The input's first."""
    window: int
    """Frames of a chunk."""

    def chunks(self, frames: Rgba, seed: int, finished: Sequence[np.ndarray],
               step: Callable[[int, int], None]) -> Iterator[UInt8[np.ndarray, "v t h w 3"]]: ...  # fmt: skip
    def close(self) -> None: ...
