"""What moves the Gaussians in a phase of training: nothing, explicit trajectories, the decoder through the key points,
or, in the first stage of the paper, the decoder directly.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from dimo_ns import gpu
from dimo_ns.core.geometry import nearest_neighbours
from dimo_ns.core.latents import MotionLatents
from dimo_ns.core.scene import Scene
from dimo_ns.core.trajectories import TrajectoryTable
from dimo_ns.core.types import Gaussians, RigidTransforms
from dimo_ns.tracking.graph import KeypointGraph, smoothed
from dimo_ns.tracking.schedule import level
from dimo_ns.training.datamanager import Poses
from dimo_ns.training.recipe import Phase

NEIGHBOURS = 8
"""Edges per key point that are kept rigid."""


@dataclass(eq=False)
class Moved:
    """The object in the poses of a step, with gradients, and what brought it there."""

    gaussians: Gaussians
    """Posed, [b, n, ...]."""
    points: Float[Tensor, "k 3"]
    """What was moved, at rest."""
    transforms: RigidTransforms | None = None
    """How, [b, k, ...]; None where nothing moves."""
    graph: Callable[[], KeypointGraph] | None = None
    """Gives which of the points are kept rigid with which."""
    divergence: Float[Tensor, ""] | None = None
    """Of the latents that were drawn from the prior; None where none were."""


@dataclass(eq=False)
class Mover(ABC):
    """Poses a scene. Rows of z, t and motion_ids belong together; each mover uses its own of them."""

    scene: Scene
    decodes: ClassVar[bool] = False
    """Whether a latent alone moves the key points, so that the scene is complete and can be shared."""

    @property
    def points(self) -> Float[Tensor, "k 3"]:
        """What moves, at rest: the key points."""
        return self.scene.keypoints

    @abstractmethod
    def transforms(
        self, z: Float[Tensor, "b d"], t: Float[Tensor, " b"], motion_ids: Int[Tensor, " b"]
    ) -> RigidTransforms | None:
        """How the points move, [b, k, ...]; None where nothing moves."""

    @abstractmethod
    def pose(self, z: Float[Tensor, "b d"], t: Float[Tensor, " b"], motion_ids: Int[Tensor, " b"]) -> Gaussians:
        """The object at times t: posed Gaussians with batch axis b."""

    def kernel(self, fraction: float) -> tuple[Float[Tensor, "k k"], ...]:
        """What `move` smooths gradients with over the key points, if it does. `fraction`: how far the phase, or its
        tree level, has come."""
        return ()

    @abstractmethod
    def move(self, poses: Poses, *kernel: Float[Tensor, "k k"]) -> Moved:
        """The object in the poses of a training step. `kernel`: of this step."""

    def positions(
        self, z: Float[Tensor, "b d"], t: Float[Tensor, " b"], motion_ids: Int[Tensor, " b"]
    ) -> Float[Tensor, "b k 3"]:
        """Where the points are at times t."""
        transforms = self.transforms(z, t, motion_ids)
        return self.points.expand(len(t), -1, -1) if transforms is None else self.points + transforms.translations


class Rest(Mover):
    """Nothing moves."""

    def transforms(self, z: Tensor, t: Tensor, motion_ids: Tensor) -> None:
        return None

    def pose(self, z: Tensor, t: Tensor, motion_ids: Tensor) -> Gaussians:
        return self.scene.gaussians().repeated(len(t))

    def move(self, poses: Poses, *kernel: Tensor) -> Moved:
        return Moved(self.scene.gaussians().repeated(len(poses.times)), self.points)


@dataclass(eq=False)
class Table(Mover):
    """Explicit trajectories carry the Gaussians."""

    table: TrajectoryTable
    graph: Callable[[], KeypointGraph]
    smoothing: tuple[float, ...] = ()
    """Diffusion of the table's gradients over the graph, in equal parts of the phase (or tree level)."""

    def transforms(self, z: Tensor, t: Tensor, motion_ids: Tensor) -> RigidTransforms:
        return self.table.at(motion_ids, t * self.table.quats.shape[1])

    def pose(self, z: Tensor, t: Tensor, motion_ids: Tensor) -> Gaussians:
        return self.scene.carry(self.transforms(z, t, motion_ids))

    def kernel(self, fraction: float) -> tuple[Tensor, ...]:
        return (self.graph().kernel(level(self.smoothing, fraction)),) if self.smoothing else ()

    def move(self, poses: Poses, *kernel: Tensor) -> Moved:
        frames = poses.motion_ids, poses.frame_ids
        transforms = smoothed(*self.table.rows(*frames), *kernel) if kernel else self.table(*frames)
        return Moved(self.scene.carry(transforms), self.points, transforms, self.graph)


@dataclass(eq=False)
class Decoder(Mover):
    """The decoder moves the key points, and they carry the Gaussians."""

    graph: Callable[[], KeypointGraph]
    decodes: ClassVar[bool] = True

    def transforms(self, z: Tensor, t: Tensor, motion_ids: Tensor) -> RigidTransforms:
        return self.scene.trajectory(z, t)

    def pose(self, z: Tensor, t: Tensor, motion_ids: Tensor) -> Gaussians:
        return self.scene.pose(z, t)

    def move(self, poses: Poses, *kernel: Tensor) -> Moved:
        z, divergence = draw(self.scene.latents, poses.motion_ids)
        transforms = self.scene.trajectory(z, poses.times)
        return Moved(self.scene.carry(transforms), self.points, transforms, self.graph, divergence)


class Points(Mover):
    """Stage 1 of the paper: the Gaussians are the key points; they share one isotropic scale and only translate."""

    @property
    def points(self) -> Float[Tensor, "k 3"]:
        """What moves, at rest: the Gaussians."""
        return self.scene.gaussians.means

    def transforms(self, z: Tensor, t: Tensor, motion_ids: Tensor) -> RigidTransforms:
        return self.scene.decoder(self.points, t, z)

    def pose(self, z: Tensor, t: Tensor, motion_ids: Tensor) -> Gaussians:
        return self._carried(self.transforms(z, t, motion_ids))

    def move(self, poses: Poses, *kernel: Tensor) -> Moved:
        z, divergence = draw(self.scene.latents, poses.motion_ids)
        transforms = self.transforms(z, poses.times, poses.motion_ids)
        return Moved(self._carried(transforms), self.points, transforms, self._graph, divergence)

    def _graph(self) -> KeypointGraph:
        return KeypointGraph(nearest_neighbours(self.points.detach(), NEIGHBOURS))

    def _carried(self, transforms: RigidTransforms) -> Gaussians:
        g = self.scene.gaussians().repeated(len(transforms.translations))
        scale = self.scene.gaussians.log_scales.mean().exp()
        return Gaussians(g.means + transforms.translations, g.quats, scale.expand_as(g.scales), g.opacities, g.colors)


def draw(latents: MotionLatents, motion_ids: Int[Tensor, " b"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, ""]]:
    """A draw of the latents of these motions, and how far the posteriors of all motions are from the prior on average,
    in nats."""
    if gpu.usable(motion_ids):
        from dimo_ns.gpu import latents as kernels  # Triton is not everywhere

        return kernels.draw(latents.mu, latents.logvar, motion_ids)
    return latents.draw(motion_ids), latents.kl().mean()


def mover_of(phase: Phase, scene: Scene, table: TrajectoryTable | None, graph: Callable[[], KeypointGraph]) -> Mover:
    """What moves the Gaussians of a scene in a phase. `table`: explicit trajectories, where the recipe has them;
    `graph`: gives the graph of the key points as they are now."""
    if phase.mover == "table":
        assert table is not None  # a recipe whose phases need a table has one
        return Table(scene, table, graph, phase.smoothing)
    if phase.mover == "decoder":
        return Decoder(scene, graph)
    return Points(scene) if phase.mover == "points" else Rest(scene)
