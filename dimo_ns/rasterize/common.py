"""What the backends share. Every backend module offers the same two functions:

``project(means [..., N, 3], quats, scales, opacities [..., N], viewmats [..., C, 4, 4], Ks, camera)``
    -> means2d [..., C, N, 2], conics [..., C, N, 3], depths [..., C, N], radii [..., C, N, 2] (0: not drawn)
``composite(means2d, conics, depths, radii, opacities, colors [..., (C,) N, D], backgrounds [..., C, D], camera,
composition)``
    -> images [..., C, H, W, D (+ 1)], alphas [..., C, H, W, 1]; colors and backgrounds may be None; means2d.absgrad is
    set by the backward pass if asked
"""

# What torch leaves untyped.
# pyright: reportUnknownVariableType=false

import functools
import importlib.util
import logging
import math
from dataclasses import dataclass
from importlib import metadata

import torch
from torch import Tensor

from ..errors import DimoError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Camera:
    """What all cameras of a call have in common; lengths in pixels, planes in world units."""

    width: int
    height: int
    near: float
    far: float
    radius_clip: float
    eps2d: float


@dataclass(frozen=True)
class Composition:
    """What is composited, and how."""

    depth: bool  # append the depth as the last channel
    expected: bool  # divide that channel by alpha
    max_alpha: float
    absgrad: bool


def gsplat_version() -> tuple[int, int]:
    """The installed gsplat's, without importing it (which may start a compiler); (1, 5) where there is none."""
    try:
        major, minor = metadata.version("gsplat").split(".")[:2]
    except metadata.PackageNotFoundError:
        return 1, 5
    return int(major), int(minor)


@functools.cache
def has_numba() -> bool:
    """Whether the kernels for CPUs can be compiled; says so once where they cannot."""
    if importlib.util.find_spec("numba") is not None:
        return True
    _log.warning("numba is not installed: rasterization on the CPU falls back to PyTorch, about forty times slower.")
    return False


def check_devices(where: str, **tensors: Tensor | None) -> None:
    """Refuses tensors, named as the caller's arguments, that are not on one device. Raises DimoError."""
    named: dict[torch.device, str] = {}
    for name, tensor in tensors.items():
        if tensor is not None:
            named.setdefault(tensor.device, name)
    if len(named) > 1:
        found = " and ".join(f"{name} on {device}" for device, name in named.items())
        raise DimoError(f"{where}: {found}; all tensors must be on one device.")


def per_image(
    depths: Tensor, opacities: Tensor, colors: Tensor | None, backgrounds: Tensor | None, composition: Composition
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Copies for each of the I images: opacities [I, N], features [I, N, D (+ 1)], backgrounds [I, D (+ 1)]."""
    *batch, C, N = depths.shape
    images = math.prod(batch) * C

    def flatten(t: Tensor, trailing: int) -> Tensor:
        t = t if t.dim() > len(batch) + trailing else t.unsqueeze(len(batch))
        return t.expand(*batch, C, *t.shape[len(batch) + 1 :]).reshape(images, *t.shape[len(batch) + 1 :])

    features = [] if colors is None else [flatten(colors, 2)]
    features += [depths.reshape(images, N, 1)] if composition.depth else []
    filling = None
    if backgrounds is not None and colors is not None:
        filling = torch.nn.functional.pad(backgrounds.reshape(images, -1), (0, int(composition.depth)))
    return flatten(opacities, 1), torch.cat(features, dim=-1), filling


def finish(out: Tensor, alpha: Tensor, shape: torch.Size, composition: Composition) -> tuple[Tensor, Tensor]:
    """Turn accumulated into expected depth if asked, and images [I, H, W, D] into [..., C, H, W, D]."""
    if composition.expected:
        out = torch.cat([out[..., :-1], out[..., -1:] / alpha.clamp(min=1e-10)], dim=-1)
    return out.unflatten(0, shape), alpha.unflatten(0, shape)
