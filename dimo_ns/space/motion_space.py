"""A trained scene as a space of motions: opened from a file, asked by name or by latent.

space = MotionSpace.open("scene.safetensors")
z = space.latents("walk", "run").mean(0)
clip = space.clip("half way", z)
clip.positions  # [t, k, 3]
"""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.core.scene import Scene
from dimo_ns.core.types import FAR, RigidTransforms
from dimo_ns.data.dataset import Motion, View
from dimo_ns.errors import DimoError
from dimo_ns.space.file import load_scene, save_scene
from dimo_ns.space.info import SceneInfo


@dataclass(eq=False)
class Clip:
    """One motion of the object, made of a latent or of several: what apps make and exports write."""

    name: str
    keypoints: Float[Tensor, "k 3"]
    """Canonical places, world frame."""
    transforms: RigidTransforms
    """[t, k, ...], one set per frame."""
    fps: float
    latents: Float[Tensor, "t d"] | None = None
    """The latent of every frame; None where the clip is no image of latents."""
    loop: bool = False
    """Whether its first frame follows smoothly after its last."""

    def __post_init__(self) -> None:
        """Raises DimoError for a motion that nothing could be computed with."""
        if not all((value.abs() < FAR).all() for value in (self.positions, self.transforms.quats)):
            raise DimoError(
                f"The motion '{self.name}' goes to places that are not finite, or beyond {FAR:g}; choose a latent "
                "nearer to those of the scene's motions, or train it again."
            )

    def __len__(self) -> int:
        return len(self.transforms.translations)

    @property
    def positions(self) -> Float[Tensor, "t k 3"]:
        """Where the key points are, world frame."""
        return self.keypoints + self.transforms.translations


class MotionSpace:
    """A scene and what is known of it: its motions by name, its frames and cameras. Nothing here is trained."""

    def __init__(self, scene: Scene, info: SceneInfo, source: Path | None = None):
        """`info` has one motion per latent of the scene; `source` is the folder that the scene came from."""
        self.scene, self.info, self.source = scene, info, source

    @staticmethod
    def open(path: Path | str) -> "MotionSpace":
        """The space of a scene.safetensors, or of the folder that holds it; on a GPU where there is one. No code is
        run. A run of ns-train is opened by `dimo_ns.runs.open_space`. Raises DimoError."""
        path = Path(path)
        scene, values = load_scene(path)
        folder = path if path.is_dir() else path.parent
        info = SceneInfo.read(values, f"{folder}: scene.json")
        return MotionSpace(scene.to("cuda" if torch.cuda.is_available() else "cpu").eval(), info, folder)

    def save(self, path: Path) -> Path:
        """Writes the scene to `path`, a .safetensors file, and its info beside it (`save_scene`); returns `path`."""
        return save_scene(self.scene, self.info.to_json(), path)

    # --- what it knows ----------------------------------------------------------------------------------------------

    @property
    def motions(self) -> tuple[Motion, ...]:
        """The motions that it was trained on, in the order of the latents."""
        return self.info.motions

    @property
    def names(self) -> list[str]:
        """The motions' names."""
        return self.info.names

    @property
    def frames(self) -> int:
        """How many frames a motion has."""
        return self.info.frames

    @property
    def fps(self) -> float:
        """Frames per second of playing a motion."""
        return self.info.fps

    @property
    def views(self) -> tuple[View, ...]:
        """The cameras of the dataset."""
        return self.info.views

    @property
    def device(self) -> torch.device:
        return self.scene.keypoints.device

    @property
    def mu(self) -> Float[Tensor, "m d"]:
        """The latents of the motions that it was trained on."""
        return self.scene.latents.mu.detach()

    @cached_property
    def times(self) -> Float[Tensor, " t"]:
        """When each frame is, f / T in [0, 1)."""
        return torch.arange(self.frames, device=self.device) / self.frames

    @cached_property
    def diameter(self) -> float:
        """The largest distance between two key points at rest, the unit of distances; kept until `forget`."""
        keypoints = self.scene.keypoints.detach()
        return float(torch.cdist(keypoints, keypoints).max())

    def forget(self) -> None:
        """Drops what was worked out from the scene's parameters: to be called after these have changed."""
        for name in ("diameter", "trained_positions"):
            vars(self).pop(name, None)

    def index(self, name: str) -> int:
        """The row of a motion. Raises DimoError for names that are not there, with the nearest one that is."""
        if name in self.names:
            return self.names.index(name)
        close = difflib.get_close_matches(name, self.names, 1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(self.names)}."
        raise DimoError(f"The scene has no motion '{name}'; {hint}")

    def latents(self, *names: str) -> Float[Tensor, "n d"]:
        """The latents of these motions. Raises DimoError."""
        return self.mu[[self.index(name) for name in names]]

    def check_latents(self, z: Tensor, where: str = "The latents") -> Float[Tensor, "n d"]:
        """`z` as rows of this space, on its device. Raises DimoError if they have another size or are not finite."""
        dim = self.mu.shape[1]
        if z.ndim not in (1, 2) or z.shape[-1] != dim or not len(z):
            raise DimoError(f"{where} have the shape {list(z.shape)}; expected [n, {dim}], as this scene's have.")
        rows = z.reshape(-1, dim).to(self.device, torch.float32)
        if not torch.isfinite(rows).all():
            raise DimoError(f"{where} hold numbers that are not finite.")
        return rows

    # --- what it makes ----------------------------------------------------------------------------------------------

    def motion(self, z: Float[Tensor, "n d"], times: Float[Tensor, " t"] | None = None) -> RigidTransforms:
        """Key point transforms [n, t, k, ...] under latents z, at all frames or at given times; differentiable in z."""
        times = self.times if times is None else times.to(self.device)
        flat = self.scene.trajectory(z.repeat_interleave(len(times), 0), times.repeat(len(z)))
        shape = (len(z), len(times))
        return RigidTransforms(flat.translations.unflatten(0, shape), flat.quats.unflatten(0, shape))

    @torch.no_grad()
    def positions(self, z: Float[Tensor, "n d"], times: Float[Tensor, " t"] | None = None) -> Float[Tensor, "n t k 3"]:
        """Key point trajectories, world frame, under latents z."""
        return self.scene.keypoints + self.motion(z, times).translations

    @torch.no_grad()
    def clip(self, name: str, z: Float[Tensor, " d"], times: Float[Tensor, " t"] | None = None) -> Clip:
        """The motion of one latent, at all frames or at given times."""
        transforms = self.motion(z[None], times)[0]
        count = len(transforms.translations)
        fps = self.fps * (count / self.frames)
        loop = name in self.names and self.motions[self.index(name)].loop
        return Clip(name, self.scene.keypoints.detach(), transforms, fps, z.expand(count, -1), loop)

    def clips(self, names: Iterable[str] | None = None) -> list[Clip]:
        """The motions that it was trained on: all, or those of given names. Raises DimoError."""
        chosen = list(self.names if names is None else names)
        return [self.clip(name, z) for name, z in zip(chosen, self.latents(*chosen), strict=True)]

    @torch.no_grad()
    def distances(self, a: Float[Tensor, "n t k 3"], b: Float[Tensor, "m t k 3"]) -> Float[Tensor, "n m"]:
        """Mean distance of the key points between each motion of `a` and each of `b`, as a share of the diameter."""
        rows = [(b - trajectory).norm(dim=-1).mean((1, 2)) for trajectory in a]
        return torch.stack(rows) / max(self.diameter, math.ulp(0.0)) if rows else a.new_zeros(0, len(b))

    @cached_property
    def trained_positions(self) -> Float[Tensor, "m t k 3"]:
        """Key point trajectories of the motions that it was trained on; kept until `forget`."""
        return self.positions(self.mu)
