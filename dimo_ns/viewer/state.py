"""What a viewer shows, and what its controls do to it: which latent, when, whether it plays, how it is drawn.

No server, no window: `State` is told what a hand does and says what is to be seen. Safe to use from several threads.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.apps.clips import write_clips
from dimo_ns.apps.language import Projector
from dimo_ns.apps.sample import draw_samples
from dimo_ns.core.latent_axes import AXES, REACH, LatentAxes, LatentMap
from dimo_ns.errors import DimoError
from dimo_ns.space.latent_files import read_latents
from dimo_ns.space.motion_space import MotionSpace

Layer = Literal["rgb", "alpha", "depth", "skinning"]
LAYERS: tuple[Layer, ...] = ("rgb", "alpha", "depth", "skinning")
SAVED = "saved"
"""The folder beside the scene with a folder for every latent that was saved."""
NAME = re.compile(r"[\w][\w .-]{0,63}")


@dataclass(frozen=True)
class Look:
    """How the object is drawn."""

    layer: Layer = "rgb"
    keypoints: bool = False
    trails: bool = False
    trail_frames: int = 6
    """Length of a trail."""
    canonical: bool = False
    """The canonical pose instead of the motion."""
    plate: bool = False
    """The map as a plate beside the object, to click on."""
    drawn_by: Literal["browser", "server"] = "browser"
    """Which of them draws the object, where browsers can."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What there is to see at one moment."""

    version: int
    z: Float[Tensor, " d"]
    words: str
    """What the latent is: a motion's name, a blend, how far from there."""
    time: float
    """In [0, 1), as the decoder takes it."""
    look: Look


class State:
    """A hand on a space of motions."""

    def __init__(self, space: MotionSpace):
        self.space = space
        self.changed = threading.Condition(threading.RLock())
        """Held while something changes, and told of it."""
        self.version = 0
        self.look = Look(trail_frames=max(1, space.frames // 3))
        self.playing, self.loop, self.speed = False, True, 1.0
        self.phase = 0.0
        """Where in the motion, in [0, 1)."""
        self.saved = read_saved(space)
        self.motion = space.names[0]
        self.blend = (space.names[0], space.names[min(1, len(space.names) - 1)], 0.0)
        self.chosen: Float[Tensor, " d"] = space.mu[0]
        """The latent that was chosen last, where it is that of no name."""
        self.sigmas = [0.0] * min(AXES, space.mu.shape[1])
        """From that latent along the principal axes, in standard deviations."""
        self.seed = 0

    # --- what there is ----------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Motions of the scene, then those that were saved."""
        return [*self.space.names, *self.saved]

    @cached_property
    def axes(self) -> LatentAxes:
        return LatentAxes.of(self.space.scene.latents)

    @cached_property
    def map(self) -> LatentMap:
        return LatentMap.of(self.space.scene.latents)

    @property
    def latent(self) -> Float[Tensor, " d"]:
        """The one that is shown; of a motion of training, as it is now."""
        with self.changed:
            base = self.latent_of(self.motion) if self.motion else self.chosen
            if not any(self.sigmas):
                return base
            return self.axes.shifted(base, base.new_tensor(self.sigmas))

    @property
    def words(self) -> str:
        """What the latent that is shown is."""
        a, b, share = self.blend
        chosen = self.motion or (f"{1 - share:.0%} {a}, {share:.0%} {b}" if share else "a new motion")
        moved = (f"axis {i + 1} {sigma:+g} σ" for i, sigma in enumerate(self.sigmas) if sigma)
        return ", ".join([chosen, *moved])

    @property
    def time(self) -> float:
        """For the decoder: a motion is not known beyond its last frame, and waits there until it begins again."""
        return min(self.phase, (self.space.frames - 1) / self.space.frames)

    @property
    def frame(self) -> float:
        return self.time * self.space.frames

    def shown(self) -> Shown:
        with self.changed:
            return Shown(self.version, self.latent, self.words, self.time, self.look)

    def latent_of(self, name: str) -> Float[Tensor, " d"]:
        """Raises DimoError."""
        return self.saved[name] if name in self.saved else self.space.latents(name)[0]

    # --- which latent -----------------------------------------------------------------------------------------------

    def select(self, name: str) -> None:
        """Shows a motion, or a latent that was saved. Raises DimoError."""
        self._set(self.latent_of(name), name)

    def mix(self, a: str, b: str, share: float) -> None:
        """Shows what is between two of them: the first at share 0, the second at 1. Raises DimoError."""
        share = min(max(share, 0.0), 1.0)
        z = torch.lerp(self.latent_of(a), self.latent_of(b), share)
        self._set(z, a if share == 0 else b if share == 1 else "", blend=(a, b, share))

    def shift(self, axis: int, sigmas: float) -> None:
        """Moves along a principal axis, from the latent that was chosen last, in standard deviations."""
        with self._change():
            self.sigmas[axis] = min(max(sigmas, -REACH), REACH)

    def reset(self) -> None:
        """Back to the latent that was chosen last."""
        with self._change():
            self.sigmas = [0.0] * len(self.sigmas)

    def random(self, temperature: float = 1.0) -> str:
        """Shows a motion that is drawn from the density of those of training, another one with every call; returns what
        it is like. Raises DimoError."""
        drawn = draw_samples(self.space, 1, self.seed, temperature)
        self.seed += 1
        self._set(drawn.latents[0], "")
        return f"a new motion, nearest to {drawn.nearest[0]} ({float(drawn.distances[0]):.0%} of the size away)"

    def ask(self, projector: Projector, words: str) -> str:
        """Shows what the words say; returns what the projector made of them. Raises DimoError."""
        answer = projector.ask(words)
        self._set(answer.latent, "")
        found = ", ".join(f"{share:.0%} {name}" for name, share in answer.motions if share >= 0.005)
        return found if answer.is_known else f"{found}; the words are far from everything known, so this says little"

    # --- the map ----------------------------------------------------------------------------------------------------

    @property
    def place(self) -> tuple[float, float]:
        """Where the latent that is shown lies on the map, from (0, 0) to (1, 1) within its edges."""
        x, y = self.map.place(self.latent).tolist()
        return x, y

    def go_to(self, x: float, y: float) -> None:
        """Shows the latent at a place on the map, x and y from 0 to 1."""
        place = [min(max(0.0, v), 1.0) for v in (x, y)]  # in this order, NaN is 0
        self._set(self.map.latent_at(self.map.low.new_tensor(place)), "")

    # --- time -------------------------------------------------------------------------------------------------------

    def play(self, playing: bool) -> None:
        with self._change():
            if playing and not self.loop and self.phase >= self._end:
                self.phase = 0.0
            self.playing = playing

    def seek(self, time: float) -> None:
        with self._change():
            self.phase = min(max(0.0, time), 1 - 1e-6)  # in this order, NaN is 0

    def step(self, frames: int) -> None:
        """Stops, and goes to a frame beside this one, from the last on to the first."""
        with self._change():
            self.playing = False
            self.phase = ((round(self.frame) + frames) % self.space.frames) / self.space.frames

    def tick(self, seconds: float) -> None:
        """Time passes. Without `loop`, a motion that has come to its last frame stops."""
        if not self.playing or self.space.frames == 1:
            return
        with self._change():
            phase = self.phase + seconds * self.speed * self.space.fps / self.space.frames
            if not self.loop and phase >= self._end:
                phase, self.playing = self._end, False
            self.phase = phase % 1.0

    @property
    def _end(self) -> float:
        return (self.space.frames - 1) / self.space.frames

    # --- how, and for later -----------------------------------------------------------------------------------------

    def show(self, **look: Any) -> None:
        """Changes fields of `look`."""
        with self._change():
            self.look = replace(self.look, **look)

    def save(self, name: str, shown: Shown | None = None) -> Path:
        """Writes the latent that is shown, or was shown then, with its video and its trajectory to a folder of that
        name beside the scene, adds it to the names and shows it. Raises DimoError for names that are taken or are none,
        or if it cannot be written."""
        name = name.strip()
        if not NAME.fullmatch(name) or name != name.rstrip("."):
            raise DimoError(f"'{name}' is no name for a motion; expected up to 64 letters, digits, spaces, - or _.")
        if name in self.names:
            raise DimoError(f"There is a motion '{name}' already; choose another name.")
        if self.space.source is None:
            raise DimoError("This scene was not read from a folder: there is no place to save beside it.")
        z, out = (shown or self.shown()).z.clone(), self.space.source / SAVED / name
        clip = self.space.clip(name, z)
        write_clips(self.space, [clip], out)
        with self._change():
            self.saved[name] = z
            self._set(z, name)
        return out

    # ----------------------------------------------------------------------------------------------------------------

    def learned(self) -> None:
        """Forgets what was worked out from the latents of training: they have changed."""
        with self.changed:
            for name in ("axes", "map"):
                vars(self).pop(name, None)
            self.space.forget()

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Within it, the state is changed by one thread alone; at its end, whoever waits for that is told."""
        with self.changed:
            yield
            self.version += 1
            self.changed.notify_all()

    def _set(self, z: Tensor, motion: str, blend: tuple[str, str, float] | None = None) -> None:
        with self._change():
            self.chosen, self.motion = z.detach().clone(), motion
            self.blend = blend or (*self.blend[:2], 0.0)
            self.sigmas = [0.0] * len(self.sigmas)


def read_saved(space: MotionSpace) -> dict[str, Float[Tensor, " d"]]:
    """Latents that were saved beside the scene, by their names; what is not readable, or not of this space, is left
    out."""
    folder = space.source / SAVED if space.source else None
    found: dict[str, Tensor] = {}
    for entry in sorted(folder.iterdir()) if folder and folder.is_dir() else []:
        try:
            rows = read_latents(entry, space) if NAME.fullmatch(entry.name) else {}
        except DimoError:
            continue
        z = rows.get(entry.name)
        if z is not None and z.ndim == 1 and entry.name not in space.names:
            found[entry.name] = z
    return found
