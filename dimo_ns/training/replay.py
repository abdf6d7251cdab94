"""What a step does beside rendering, as CUDA graphs: one launch forward and one backward in place of dozens.

As long as nothing is put in another's place, every step does the same operations at the same addresses; they are
recorded once and replayed. Rasterization is left out: how much memory it takes depends on what is seen.
"""

import functools
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dimo_ns.metrics.perceptual import Lpips
from dimo_ns.rasterize.render import facing_normals
from dimo_ns.training.datamanager import Poses
from dimo_ns.training.model import DimoModel
from dimo_ns.training.objective import Terms, motion_terms, picture_terms
from dimo_ns.training.recipe import Weights

_log = logging.getLogger(__name__)


class Replay:
    """A module that is called with tensors alone, and recorded on a CUDA device: what it returns, and the gradients
    that it hands on, are overwritten by its next call."""

    def __init__(self, make: Callable[[], nn.Module], parts: Callable[[], tuple[object, ...]]):
        """`make`: makes the module, for inputs of each shape; all of them anew where one of `parts` is another object
        than before."""
        self._make, self._parts = make, parts
        self._made_of: tuple[object, ...] = ()
        self._calls: dict[tuple[tuple[torch.Size, bool], ...], Callable[..., Any]] = {}

    def __call__(self, *inputs: Tensor) -> Any:
        parts, shapes = self._parts(), tuple((x.shape, x.requires_grad) for x in inputs)
        if len(parts) != len(self._made_of) or any(a is not b for a, b in zip(parts, self._made_of, strict=True)):
            self._made_of = parts
            self._forget()
        if shapes not in self._calls:
            self._calls[shapes] = replayed(self._make(), *inputs)
        return self._calls[shapes](*inputs)

    def _forget(self) -> None:
        """Frees the memory of what was recorded: graphs are parts of cycles."""
        if self._calls:
            self._calls.clear()
            if torch.cuda.is_available():
                gc.collect()


def replayed(module: nn.Module, *inputs: Tensor) -> Callable[..., Any]:
    """A module for inputs of these shapes; recorded where its parameters are on a CUDA device. They have to stay where
    they are, and to want gradients as they do now."""
    if any(x.is_cuda for x in (*module.parameters(), *inputs)):
        own = tuple(x.detach().clone().requires_grad_(x.requires_grad) for x in inputs)
        try:
            with _uncollected():
                module = torch.cuda.make_graphed_callables(module, own, allow_unused_input=True)  # pyright: ignore
        except RuntimeError as error:
            _say_once(str(error).splitlines()[0])
    return module.__call__


@contextmanager
def _uncollected() -> Iterator[None]:
    """Within it nothing is collected: to free an earlier graph would end the recording of this one."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@functools.cache
def _say_once(why: str) -> None:
    _log.warning("No CUDA graphs here (%s): training steps take more launches.", why)


class Moves(nn.Module):
    """Moves the Gaussians of a model, by its mover in the present phase."""

    def __init__(self, model: DimoModel):
        super().__init__()
        self.scene, self.table, self.mover = model.scene, model.table, model.mover
        self.weights = model.moment.phase.weights
        self.anchors = model.anchors if model.anchors.numel() else None

    @staticmethod
    def parts(model: DimoModel) -> tuple[object, ...]:
        """What it depends on, and training puts others in the place of."""
        scene = model.scene
        parts = scene.decoder, scene.keypoints, scene.log_radii, scene.gaussians, scene.neighbours
        return model.moment.phase, *parts, model.table, model.edges, model.anchors

    def forward(
        self, motion_ids: Int[Tensor, " b"], frame_ids: Int[Tensor, " b"], times: Float[Tensor, " b"], *kernel: Tensor
    ) -> tuple[tuple[Tensor, ...], Terms]:
        """The parts of the Gaussians in these poses, and the weighted terms of how they move. `kernel`: see
        `Mover.move`."""
        poses = Poses(motion_ids, frame_ids, times)
        moved = self.mover.move(poses, *kernel)
        g = moved.gaussians
        terms = motion_terms(moved, poses, self.weights, self.table, self.anchors)
        return (g.means, g.quats, g.scales, g.opacities, g.colors), terms


class Facing(nn.Module):
    """The normals of Gaussians, as cameras see them."""

    def forward(
        self,
        means: Float[Tensor, "b n 3"],
        quats: Float[Tensor, "b n 4"],
        scales: Float[Tensor, "n 3"],
        centres: Float[Tensor, "b c 3"],
    ) -> Float[Tensor, "b c n 3"]:
        """See `facing_normals`."""
        return facing_normals(means, quats, scales, centres)


class Pictures(nn.Module):
    """Compares renders with frames, by the weights of a phase."""

    def __init__(self, weights: Weights, lpips: Lpips | None):
        super().__init__()
        self.weights, self.lpips = weights, lpips

    def forward(
        self,
        rgba: Float[Tensor, "b c h w 4"],
        importance: Float[Tensor, "b c"],
        color: Float[Tensor, "b c h w 3"],
        alpha: Float[Tensor, "b c h w 1"],
        *geometry: Tensor,
    ) -> Terms:
        """The weighted terms. `geometry`: depth and normals, where they count."""
        return picture_terms(rgba, importance, color, alpha, geometry, self.weights, self.lpips)
